/* Answers as users read them: bytes of each form, JSON that parses, lengths that are right. */
#include "t.h"

#include <float.h>
#include <math.h>

#include "query/answer.h"
#include "vector/json.h"

static const float v3[] = { 0.1f, -2.0f, 1e-20f };

static struct answer_hit hit(const char *id, float distance)
{
	return (struct answer_hit){ .id = id, .id_len = strlen(id), .distance = distance };
}

static struct answer_hit full_hit(const char *id, const char *metadata, const char *text)
{
	struct answer_hit h = hit(id, 0.25f);

	h.metadata = metadata;
	h.metadata_len = metadata ? strlen(metadata) : 0;
	h.text = text;
	h.text_len = text ? strlen(text) : 0;
	h.v = v3;
	h.dim = 3;
	return h;
}

static void add_answer(struct answer *a, enum query_form form, unsigned include,
                       const struct answer_hit *hits, size_t n)
{
	struct query q = { .form = form, .include = include };

	answer_begin(a, &q);
	for (size_t i = 0; i < n; i++)
		answer_hit(a, &hits[i]);
	answer_end(a);
}

static void lines(void **state)
{
	struct buf out = BUF_INIT;
	struct answer_hit hits[] = { hit("doc1", 0), hit("b c", 0.1f), hit("\xc3\xa4", 1.5e-8f) };
	struct answer a;

	answer_init(&a, &out);
	add_answer(&a, QUERY_LINE, 0, hits, 3);
	assert_string_equal(out.data, "doc1\t0\nb c\t0.1\n\xc3\xa4\t1.5e-08\n");
	buf_release(&out);
}

static void hits_of_tenants(void **state)
{
	struct buf out = BUF_INIT;
	struct answer_hit h = hit("doc", 1);
	struct query q = { .form = QUERY_JSON };
	struct answer a;

	h.tenant = "acme";
	answer_init(&a, &out);
	add_answer(&a, QUERY_LINE, 0, &h, 1);
	answer_begin(&a, &q);
	answer_hit(&a, &h);
	answer_end_with(&a, "\"searched\":3");
	assert_string_equal(out.data,
	                    "acme/doc\t1\n\n{\"results\":[{\"tenant\":\"acme\",\"id\":\"doc\","
	                    "\"distance\":1}],\"searched\":3}\n");
	buf_release(&out);
}

static void batches_are_separated(void **state)
{
	struct buf out = BUF_INIT;
	struct answer_hit h = hit("a", 1);
	struct answer a;

	answer_init(&a, &out);
	add_answer(&a, QUERY_LINE, 0, &h, 1);
	add_answer(&a, QUERY_NPY, 0, &h, 1);
	add_answer(&a, QUERY_LINE, 0, &h, 0);
	add_answer(&a, QUERY_LINE, 0, &h, 1);
	assert_string_equal(out.data, "a\t1\n\na\t1\n\n\na\t1\n");
	assert_int_equal(a.n_answers, 4);
	buf_release(&out);
}

static void json_lines(void **state)
{
	struct buf out = BUF_INIT;
	struct answer_hit hits[] = { hit("a", 1), hit("b\"\\", 2) };
	struct answer a;

	answer_init(&a, &out);
	add_answer(&a, QUERY_JSON, 0, hits, 2);
	add_answer(&a, QUERY_JSON, 0, hits, 0);
	assert_string_equal(out.data, "{\"results\":[{\"id\":\"a\",\"distance\":1},"
	                              "{\"id\":\"b\\\"\\\\\",\"distance\":2}]}\n"
	                              "{\"results\":[]}\n");
	buf_release(&out);
}

static void forms_in_one_batch(void **state)
{
	struct buf out = BUF_INIT;
	struct answer_hit h = hit("a", 1);
	struct answer a;

	answer_init(&a, &out);
	add_answer(&a, QUERY_LINE, 0, &h, 1);
	add_answer(&a, QUERY_JSON, 0, &h, 1);
	add_answer(&a, QUERY_LINE, 0, &h, 1);
	assert_string_equal(out.data,
	                    "a\t1\n\n{\"results\":[{\"id\":\"a\",\"distance\":1}]}\n\na\t1\n");
	buf_release(&out);
}

static void includes(void **state)
{
	struct answer_hit h = full_hit("a", "{\"x\":1}", "two\nlines\t");
	unsigned all = INCLUDE_METADATA | INCLUDE_VECTOR | INCLUDE_TEXT;
	struct buf out = BUF_INIT;
	struct answer a;

	answer_init(&a, &out);
	add_answer(&a, QUERY_LINE, all, &h, 1);
	assert_string_equal(out.data, "a\t0.25\t{\"vector\":[0.1,-2,1e-20],\"metadata\":{\"x\":1},"
	                              "\"text\":\"two\\nlines\\t\"}\n");
	buf_clear(&out);
	answer_init(&a, &out);
	add_answer(&a, QUERY_LINE, INCLUDE_TEXT, &h, 1);
	assert_string_equal(out.data, "a\t0.25\t{\"text\":\"two\\nlines\\t\"}\n");
	buf_clear(&out);
	answer_init(&a, &out);
	h = full_hit("a", NULL, NULL);
	add_answer(&a, QUERY_LINE, INCLUDE_TEXT | INCLUDE_METADATA, &h, 1);
	add_answer(&a, QUERY_JSON, INCLUDE_METADATA, &h, 1);
	assert_string_equal(out.data, "a\t0.25\t{}\n\n"
	                              "{\"results\":[{\"id\":\"a\",\"distance\":0.25}]}\n");
	buf_release(&out);
}

static void overflowed_distances_stay_numbers(void **state)
{
	struct buf out = BUF_INIT;
	struct answer_hit hits[] = { hit("a", -INFINITY), hit("b", INFINITY), hit("c", NAN) };
	struct answer a;

	answer_init(&a, &out);
	add_answer(&a, QUERY_LINE, 0, hits, 3);
	assert_string_equal(out.data, "a\t-3.4028235e+38\nb\t3.4028235e+38\nc\t3.4028235e+38\n");
	buf_release(&out);
}

/* ---- JSON validity ---- */

static const char *const odd_ids[] = {
	"plain",
	"with space",
	"quote\"",
	"back\\slash",
	"{\"a\":1}",
	"\xc3\xa4",
	"\xf0\x9f\x98\x80",
	"\xe2\x80\xa8",
	"'",
	"</script>",
	"a,b:c[d]{e}",
	"%s%n",
	"\x7f",
	" ",
	"-",
};

static void check_json_id(const char *text, size_t len, const char *id, bool in_results)
{
	const struct json *at;
	struct json *j = NULL;
	const char *s;
	size_t n;

	T_OK(json_parse(text, len, &j, NULL));
	at = in_results ? json_array_at(json_member(j, "results"), 0) : j;
	assert_true(json_string(json_member(at, "id"), &s, &n));
	assert_int_equal(n, strlen(id));
	assert_memory_equal(s, id, n);
	json_free(j);
}

static void odd_ids_make_valid_json(void **state)
{
	for (size_t i = 0; i < sizeof odd_ids / sizeof *odd_ids; i++) {
		struct answer_hit h = full_hit(odd_ids[i], "{\"k\":[1,2]}", "a \"text\" \x01\n");
		struct buf out = BUF_INIT;
		struct answer a;
		struct json *j = NULL;
		char *tab;

		answer_init(&a, &out);
		add_answer(&a, QUERY_JSON, 7, &h, 1);
		check_json_id(out.data, out.len, odd_ids[i], true);
		buf_clear(&out);
		answer_vector_json(&out, &h);
		check_json_id(out.data, out.len, odd_ids[i], false);
		buf_clear(&out);
		answer_init(&a, &out);
		add_answer(&a, QUERY_LINE, 7, &h, 1);
		tab = strchr(strchr(out.data, '\t') + 1, '\t');
		T_OK(json_parse(tab, out.len - (size_t)(tab - out.data), &j, NULL));
		json_free(j);
		assert_ptr_equal(strchr(out.data, '\n'), out.data + out.len - 1);
		buf_release(&out);
	}
}

static void vector_file(void **state)
{
	struct answer_hit h = full_hit("a", "{}", "t");
	struct buf out = BUF_INIT;

	answer_vector_json(&out, &h);
	assert_string_equal(
		out.data,
		"{\"id\":\"a\",\"vector\":[0.1,-2,1e-20],\"metadata\":{},\"text\":\"t\"}\n");
	buf_clear(&out);
	h = full_hit("a", NULL, NULL);
	answer_vector_json(&out, &h);
	assert_string_equal(out.data, "{\"id\":\"a\",\"vector\":[0.1,-2,1e-20]}\n");
	buf_release(&out);
}

static void lengths_without_rendering(void **state)
{
	unsigned seed = (unsigned)t_seed();

	for (int i = 0; i < 500; i++) {
		struct answer_hit h = full_hit(odd_ids[i % 15],
		                               i & 1 ? "{\"a\":\"\xc3\xa4\"}" : NULL,
		                               i & 2 ? "x\x01\"\n\xff y" : NULL);
		struct buf out = BUF_INIT;
		float v[20];

		for (int j = 0; j < 20; j++)
			v[j] = ldexpf((float)(rand_r(&seed) % 2000001 - 1000000),
			              rand_r(&seed) % 200 - 110);
		h.v = v;
		h.dim = (size_t)(i % 21);
		answer_vector_json(&out, &h);
		assert_int_equal(out.len, answer_vector_json_length(&h));
		buf_release(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(hits_of_tenants),
		cmocka_unit_test(batches_are_separated),
		cmocka_unit_test(json_lines),
		cmocka_unit_test(forms_in_one_batch),
		cmocka_unit_test(includes),
		cmocka_unit_test(overflowed_distances_stay_numbers),
		cmocka_unit_test(odd_ids_make_valid_json),
		cmocka_unit_test(vector_file),
		cmocka_unit_test(lengths_without_rendering),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

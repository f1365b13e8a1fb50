/* test_kept.c: what a server finds that comes after another one: files, texts, calls. */
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tree/handle.h"

static int fd;
static struct kept *k;

/* The server dies, and another one comes. */
static void restart(void)
{
	kept_free(k);
	T_OK(kept_new(fd, &k, NULL));
}

static int start(void **state)
{
	fd = memfd_create("kept", MFD_CLOEXEC);
	return fd < 0 ? -1 : kept_new(fd, &k, NULL);
}

static int stop(void **state)
{
	kept_free(k);
	close(fd);
	return 0;
}

static struct caller asks(uint64_t request)
{
	return (struct caller){ .request = request };
}

/* ---- handles ---- */

static void handles_are_taken_over(void **state)
{
	const struct node config = { NODE_CONFIG, 5, 0 }, query = { NODE_QUERY, 5, 77 };
	struct caller again = asks(42 | CALLER_AGAIN);
	uint64_t a, b, c, number, pos = 0;
	struct handles *hs;
	struct handle *h;

	T_OK(handles_new(k, &hs, NULL));
	T_OK(handles_open(hs, NULL, &a, &h, NULL));
	h->node = config;
	h->flags = O_RDONLY;
	handles_keep(h, 41);
	T_OK(handles_open(hs, NULL, &b, &h, NULL)); /* never answered: not kept */
	T_OK(handles_open(hs, NULL, &c, &h, NULL));
	h->node = query;
	h->flags = O_RDWR;
	handles_keep(h, 42);
	handles_free(hs); /* none is closed */
	restart();
	T_OK(handles_new(k, &hs, NULL));
	assert_non_null(handles_get(hs, a));
	assert_null(handles_get(hs, b));
	h = handles_get(hs, c);
	assert_non_null(h);
	assert_true(h->left);
	assert_int_equal(h->node.kind, NODE_QUERY);
	assert_int_equal(h->node.item, 77);
	assert_int_equal(h->flags, O_RDWR);
	assert_ptr_equal(h->ops, &file_query);
	assert_ptr_equal(handles_on_node(hs, query), h);
	assert_null(handles_on_node(hs, (struct node){ NODE_QUERY, 6, 77 }));
	assert_ptr_equal(handles_orphan(hs, &again, &number), h);
	assert_int_equal(number, c);
	again = asks(42);
	assert_null(handles_orphan(hs, &again, &number));
	/* the place between them is free */
	T_OK(handles_open(hs, NULL, &number, &h, NULL));
	assert_int_equal((uint32_t)number, (uint32_t)b);
	handles_close(hs, number);
	while (handles_next(hs, &pos, &number))
		handles_close(hs, number);
	handles_free(hs);
	restart();
	T_OK(handles_new(k, &hs, NULL));
	pos = 0;
	assert_null(handles_next(hs, &pos, &number));
	handles_free(hs);
}

static void texts_are_found_again(void **state)
{
	struct buf text = BUF_INIT, back = BUF_INIT;

	kept_take(k, 3);
	kept_take(k, LIMIT_HANDLES - 1);
	T_OK(kept_get_text(k, 3, &back, NULL));
	assert_int_equal(back.len, 0);
	for (int i = 0; i < 10000; i++)
		buf_addf(&text, "line %d\n", i);
	kept_put_text(k, LIMIT_HANDLES - 1, &text);
	restart();
	T_OK(kept_get_text(k, LIMIT_HANDLES - 1, &back, NULL));
	assert_int_equal(back.len, text.len);
	assert_memory_equal(back.data, text.data, text.len);
	kept_file(k, 3)->text_len = KEPT_NO_TEXT - 1; /* it could not be kept */
	T_ERR(kept_get_text(k, 3, &back, NULL), EAGAIN);
	buf_release(&text);
	buf_release(&back);
}

/* ---- streams ---- */

static void unsettled_bytes_are_kept(void **state)
{
	struct kept_stream s = { .pos = 5, .clean_pos = 2, .taken = 9 };
	static char many[2 << 20];
	struct buf back = BUF_INIT;
	struct caller who;

	kept_take(k, 0);
	kept_set_stream(k, 0, &s, "abc", 3);
	s.pos = 7;
	s.taken = 10;
	kept_set_stream(k, 0, &s, "de", 2);
	restart();
	who = asks(10 | CALLER_AGAIN);
	assert_true(kept_was_taken(kept_file(k, 0), &who));
	who = asks(9 | CALLER_AGAIN);
	assert_false(kept_was_taken(kept_file(k, 0), &who));
	who = asks(10);
	assert_false(kept_was_taken(kept_file(k, 0), &who));
	T_OK(kept_get_pending(k, 0, &back, NULL));
	assert_int_equal(back.len, 5);
	assert_memory_equal(back.data, "abcde", 5);
	/* Settled, and begun again. */
	s.pos = s.clean_pos = 20;
	kept_set_stream(k, 0, &s, "fg", 2);
	s.pos = 21;
	kept_set_stream(k, 0, &s, "h", 1);
	buf_clear(&back);
	T_OK(kept_get_pending(k, 0, &back, NULL));
	assert_int_equal(back.len, 1);
	assert_memory_equal(back.data, "h", 1);
	s.pos += sizeof(many);
	kept_set_stream(k, 0, &s, many, sizeof(many));
	T_ERR(kept_get_pending(k, 0, &back, NULL), EAGAIN);
	s.pos += 1;
	kept_set_stream(k, 0, &s, "i", 1);
	T_ERR(kept_get_pending(k, 0, &back, NULL), EAGAIN);
	s.clean_pos = s.pos;
	kept_set_stream(k, 0, &s, "j", 1);
	buf_clear(&back);
	T_OK(kept_get_pending(k, 0, &back, NULL));
	assert_int_equal(back.len, 0);
	buf_release(&back);
}

/* A call that ended, but whose end was not told: its bytes are there, the state is not. */
static void bytes_without_a_state_are_left_out(void **state)
{
	struct kept_stream s = { .pos = 3, .clean_pos = 0 };
	union kept_state before;
	struct buf back = BUF_INIT;

	kept_take(k, 0);
	kept_set_stream(k, 0, &s, "abc", 3);
	before = kept_state(kept_file(k, 0));
	s.pos = 6;
	kept_set_stream(k, 0, &s, "def", 3);
	kept_set_state(kept_file(k, 0), &before);
	restart();
	T_OK(kept_get_pending(k, 0, &back, NULL));
	assert_int_equal(back.len, 3);
	s.pos = 4;
	kept_set_stream(k, 0, &s, "x", 1);
	buf_clear(&back);
	T_OK(kept_get_pending(k, 0, &back, NULL));
	assert_memory_equal(back.data, "abcx", 4);
	buf_release(&back);
}

/* ---- calls ---- */

static struct kept_once begin(uint64_t request, const char *name)
{
	struct caller who = asks(request);

	return kept_once_begin(k, &who, 1, name);
}

static void a_call_is_done_once(void **state)
{
	struct kept_once o = begin(5, "a");

	assert_int_equal(kept_once_end(&o, 0, -EEXIST), 0);
	restart(); /* it ended, and was not answered */
	o = begin(5 | CALLER_AGAIN, "a");
	assert_true(o.done);
	/* It was done, and did not end. */
	begin(6, "b");
	restart();
	o = begin(6 | CALLER_AGAIN, "b");
	assert_false(o.done);
	assert_int_equal(kept_once_end(&o, -EEXIST, -EEXIST), 0);
	/* Other errors stay what they are, and so does one of a call that was not sent again. */
	begin(7, "c");
	restart();
	o = begin(7 | CALLER_AGAIN, "c");
	assert_int_equal(kept_once_end(&o, -EDQUOT, -EEXIST), -EDQUOT);
	o = begin(8, "c");
	assert_int_equal(kept_once_end(&o, -EEXIST, -EEXIST), -EEXIST);
	/* One that never began. */
	o = begin(9 | CALLER_AGAIN, "d");
	assert_int_equal(kept_once_end(&o, -EEXIST, -EEXIST), -EEXIST);
}

static void of_two_calls_one_succeeds(void **state)
{
	struct kept_once x = begin(1, "n"), y = begin(2, "n"), other = begin(3, "m");

	assert_int_equal(kept_once_end(&x, 0, -EEXIST), 0);
	restart(); /* x was answered, y had found nothing yet */
	y = begin(2 | CALLER_AGAIN, "n");
	assert_int_equal(kept_once_end(&y, -EEXIST, -EEXIST), -EEXIST);
	other = begin(3 | CALLER_AGAIN, "m");
	assert_int_equal(kept_once_end(&other, -EEXIST, -EEXIST), 0);
	/* Neither ended: who comes first. */
	begin(11, "p");
	begin(12, "p");
	restart();
	y = begin(12 | CALLER_AGAIN, "p");
	x = begin(11 | CALLER_AGAIN, "p");
	assert_int_equal(kept_once_end(&y, -EEXIST, -EEXIST), 0);
	assert_int_equal(kept_once_end(&x, -EEXIST, -EEXIST), -EEXIST);
}

static void other_layouts_are_forgotten(void **state)
{
	struct kept_file *f = kept_take(k, 0);

	f->node = 7;
	f->open = 1;
	restart();
	assert_int_equal(kept_file(k, 0)->node, 7);
	kept_free(k);
	assert_int_equal(pwrite(fd, "other", 5, 0), 5);
	T_OK(kept_new(fd, &k, NULL));
	assert_int_equal(kept_n_files(k), 0);
	assert_int_equal(kept_file(k, 0)->open, 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(handles_are_taken_over),      T(texts_are_found_again),
		T(unsettled_bytes_are_kept),    T(bytes_without_a_state_are_left_out),
		T(a_call_is_done_once),         T(of_two_calls_one_succeeds),
		T(other_layouts_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

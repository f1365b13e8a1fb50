/*
 * hnswlib.cpp: the peer's side of `make bench-peers`: takes the options of `ruvector-bench index`, prints the
 * same TSV, and measures in the same way (see tools/bench_index.c): queries repeated for at least half a second
 * an ef after one pass to warm up, ties count as hits, memory after the queries.
 *
 * hnswlib has no cosine: vectors are normalised when they are read, a query within its measured time, as a user
 * would have to. It keeps the vectors in its own memory, so no file bytes are counted.
 */
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <getopt.h>
#include <hnswlib/hnswlib.h>

namespace {

const float tie = 1e-6f;
const double measure_seconds = 0.5;

struct vecs {
	std::vector<char> bytes; /* values only, 4 bytes each */
	size_t n = 0, dim = 0;

	const float *f32(size_t i) const { return reinterpret_cast<const float *>(bytes.data()) + i * dim; }
	const int32_t *i32(size_t i) const { return reinterpret_cast<const int32_t *>(bytes.data()) + i * dim; }
};

struct options {
	std::string base, query, truth, metric;
	std::vector<size_t> ef{ 16, 32, 64, 128, 256 };
	size_t k = 10, threads = std::thread::hardware_concurrency(), m = 16, ef_construction = 200;
};

vecs read_vecs(const std::string &path)
{
	std::unique_ptr<FILE, int (*)(FILE *)> f(fopen(path.c_str(), "rb"), fclose);
	vecs v;
	int32_t dim;

	if (!f)
		throw std::runtime_error(path + ": " + strerror(errno));
	while (fread(&dim, 4, 1, f.get()) == 1) {
		if (dim < 1 || (v.n && size_t(dim) != v.dim))
			throw std::runtime_error(path + ": bad dimension");
		v.dim = size_t(dim);
		v.bytes.resize((v.n + 1) * v.dim * 4);
		if (fread(v.bytes.data() + v.n * v.dim * 4, 4, v.dim, f.get()) != v.dim)
			throw std::runtime_error(path + ": ends within a record");
		v.n++;
	}
	return v;
}

void normalize(const float *v, size_t dim, float *ret)
{
	float sum = 0;

	for (size_t i = 0; i < dim; i++)
		sum += v[i] * v[i];
	sum = sum > 0 ? 1 / std::sqrt(sum) : 0;
	for (size_t i = 0; i < dim; i++)
		ret[i] = v[i] * sum;
}

double seconds_now()
{
	return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

size_t anonymous_bytes()
{
	std::unique_ptr<FILE, int (*)(FILE *)> f(fopen("/proc/self/status", "r"), fclose);
	unsigned long long kb = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f.get()) && sscanf(line, "RssAnon: %llu kB", &kb) != 1)
		;
	return size_t(kb) * 1024;
}

std::unique_ptr<hnswlib::SpaceInterface<float>> make_space(const std::string &metric, size_t dim)
{
	if (metric == "l2")
		return std::make_unique<hnswlib::L2Space>(dim);
	return std::make_unique<hnswlib::InnerProductSpace>(dim);
}

class bench {
	const options &o;
	vecs query, truth;
	size_t n = 0, dim = 0;
	std::unique_ptr<hnswlib::SpaceInterface<float>> space;
	std::unique_ptr<hnswlib::HierarchicalNSW<float>> graph;
	std::vector<double> bounds;    /* of each query: what is no farther is a hit */
	std::vector<double> latencies; /* of one pass, seconds */
	std::vector<size_t> hits;      /* of one pass */

	double distance(float key) const { return o.metric == "l2" ? std::sqrt(double(key)) : double(key); }

	void set_bounds(const vecs &base)
	{
		std::vector<float> q(dim);

		for (size_t i = 0; i < query.n; i++) {
			prepare(query.f32(i), q.data());
			bounds.push_back(distance(space->get_dist_func()(q.data(), base.f32(truth.i32(i)[o.k - 1]),
									 space->get_dist_func_param())) + tie);
		}
	}

	void prepare(const float *v, float *ret) const
	{
		if (o.metric == "cosine")
			normalize(v, dim, ret);
		else
			memcpy(ret, v, dim * sizeof(*v));
	}

	void insert_all(const vecs &base)
	{
		std::vector<std::thread> threads;
		std::atomic<size_t> next{ 0 };
		auto insert = [&] {
			for (size_t i; (i = next++) < n;)
				graph->addPoint(base.f32(i), i);
		};

		for (size_t i = 1; i < o.threads; i++)
			threads.emplace_back(insert);
		insert();
		for (auto &t : threads)
			t.join();
	}

	void pass()
	{
		std::vector<float> q(dim);

		for (size_t i = 0; i < query.n; i++) {
			double begin = seconds_now();
			prepare(query.f32(i), q.data());
			auto found = graph->searchKnn(q.data(), o.k);
			latencies[i] = seconds_now() - begin;
			for (hits[i] = 0; !found.empty(); found.pop())
				hits[i] += distance(found.top().first) <= bounds[i];
		}
	}

	double quantile(double p)
	{
		std::sort(latencies.begin(), latencies.end());
		return latencies[std::min(size_t(p * double(query.n)), query.n - 1)] * 1e6;
	}

	void measure(size_t ef)
	{
		double begin, elapsed, p50 = HUGE_VAL, p99 = HUGE_VAL;
		size_t asked = 0, sum = 0;

		graph->setEf(ef);
		pass();
		begin = seconds_now();
		do {
			pass();
			asked += query.n;
			elapsed = seconds_now() - begin;
			p50 = std::min(p50, quantile(0.5));
			p99 = std::min(p99, quantile(0.99));
		} while (elapsed < measure_seconds);
		for (size_t h : hits)
			sum += h;
		printf("%zu\t%.4f\t%.0f\t%.1f\t%.1f\n", ef, double(sum) / double(query.n * o.k),
		       double(asked) / elapsed, p50, p99);
		fflush(stdout);
	}

	void build(const vecs &base)
	{
		double begin = seconds_now(), seconds;

		graph = std::make_unique<hnswlib::HierarchicalNSW<float>>(space.get(), n, o.m, o.ef_construction, 1);
		insert_all(base);
		seconds = seconds_now() - begin;
		printf("build_seconds\t%.3f\nvectors_per_second\t%.0f\n", seconds, double(n) / seconds);
	}

	void check(const vecs &base) const
	{
		if (!base.n || query.dim != dim || truth.n != query.n || truth.dim < o.k)
			throw std::runtime_error("base, queries and truth do not fit together");
		for (size_t i = 0; i < truth.n * truth.dim; i++) {
			if (size_t(truth.i32(0)[i]) >= n)
				throw std::runtime_error("truth names a vector beyond the base");
		}
	}

public:
	explicit bench(const options &given) : o(given) {}

	void run()
	{
		vecs base = read_vecs(o.base);
		size_t before;

		query = read_vecs(o.query);
		truth = read_vecs(o.truth);
		n = base.n;
		dim = base.dim;
		check(base);
		if (o.metric == "cosine") {
			for (size_t i = 0; i < n; i++)
				normalize(base.f32(i), dim, const_cast<float *>(base.f32(i)));
		}
		space = make_space(o.metric, dim);
		set_bounds(base);
		latencies.resize(query.n);
		hits.resize(query.n);
		before = anonymous_bytes();
		build(base);
		printf("ef\trecall\tqps\tp50_us\tp99_us\n");
		for (size_t ef : o.ef)
			measure(ef);
		printf("bytes_per_vector\t%.0f\nfile_bytes_per_vector\t0\n",
		       double(anonymous_bytes() - before) / double(n));
	}
};

size_t parse_count(const char *s)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	if (end == s || *end != '\0' || *s == '-' || v == 0)
		throw std::runtime_error(std::string("bad number '") + s + "'");
	return v;
}

std::vector<size_t> parse_list(std::string s)
{
	std::vector<size_t> ret;
	size_t comma;

	while ((comma = s.find(',')) != std::string::npos) {
		ret.push_back(parse_count(s.substr(0, comma).c_str()));
		s.erase(0, comma + 1);
	}
	ret.push_back(parse_count(s.c_str()));
	return ret;
}

bool parse_options(int argc, char **argv, options &o)
{
	static const struct option longs[] = {
		{ "base", 1, nullptr, 'b' },    { "query", 1, nullptr, 'q' },   { "truth", 1, nullptr, 't' },
		{ "metric", 1, nullptr, 'M' },  { "ef", 1, nullptr, 'e' },      { "k", 1, nullptr, 'k' },
		{ "threads", 1, nullptr, 'T' }, { "m", 1, nullptr, 'm' },       { "ef-construction", 1, nullptr, 'c' },
		{ nullptr, 0, nullptr, 0 },
	};

	for (int c; (c = getopt_long(argc, argv, "", longs, nullptr)) != -1;) {
		switch (c) {
		case 'b': o.base = optarg; break;
		case 'q': o.query = optarg; break;
		case 't': o.truth = optarg; break;
		case 'M': o.metric = optarg; break;
		case 'e': o.ef = parse_list(optarg); break;
		case 'k': o.k = parse_count(optarg); break;
		case 'T': o.threads = parse_count(optarg); break;
		case 'm': o.m = parse_count(optarg); break;
		case 'c': o.ef_construction = parse_count(optarg); break;
		default: return false;
		}
	}
	return optind == argc && !o.base.empty() && !o.query.empty() && !o.truth.empty() &&
	       (o.metric == "cosine" || o.metric == "l2" || o.metric == "ip");
}

} // namespace

int main(int argc, char **argv)
{
	options o;

	try {
		if (!parse_options(argc, argv, o)) {
			fputs("usage: peer-hnswlib --base F.fvecs --query F.fvecs --truth F.ivecs\n"
			      "       --metric cosine|l2|ip [--ef LIST] [--k N] [--threads N] [--m N]"
			      " [--ef-construction N]\n", stderr);
			return 2;
		}
		bench(o).run();
	} catch (const std::exception &e) {
		fprintf(stderr, "peer-hnswlib: %s\n", e.what());
		return 1;
	}
	return 0;
}

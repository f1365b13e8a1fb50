/*
 * file_text.c: README, one screen of help, and version, one word.
 */
#include "tree/file.h"

static const char help[] =
	"Every directory in tenants/ is a vector store of its own.\n"
	"\n"
	"    mkdir tenants/me; cd tenants/me\n"
	"    echo \"0.1 0.2 0.3\" > ingest/doc1            insert one vector\n"
	"    cp vectors.fvecs ingest/                    or a file: text .jsonl .npy ...\n"
	"    cat ingest/vectors.fvecs                    what became of it\n"
	"    echo \"0.1 0.2 0.3\" > query && cat results   ask; ID<TAB>DISTANCE a line\n"
	"    exec 3<>query; echo \"k=5 0.1 0.2 0.3\" >&3; cat <&3   on one descriptor\n"
	"    cat vectors/doc1; rm vectors/doc1           read one, remove one\n"
	"    cat error                                   why the last operation failed\n"
	"\n"
	"tenants/ID/\n"
	"    ingest/       files written here are inserted, each as one batch\n"
	"    vectors/      a file per stored vector; extended attributes are its metadata\n"
	"    export.jsonl  all vectors as one file, which ingest/ takes; also .fvecs, .npy\n"
	"    delete        lines of IDs to remove; `*` alone removes all\n"
	"    query         [k=N] [ef=N] [exact=1] [like=ID] [include=metadata] numbers\n"
	"    results error config stats integrity quota status labels\n"
	"    collections/  mkdir makes a further collection: all of the above but quota, labels\n"
	"    events        what happens; a read waits for it: grep -m1 near_quota events\n"
	"\n"
	"What can be written has the form of what is read:\n"
	"    echo \"ef_search 100\" > config; echo \"max_vectors 10000\" > quota\n"
	"    echo readonly > status;        echo verify > integrity; cat integrity\n"
	"At the top, for root: stats, config, audit (who did what), metrics/ruvectorfs.prom,\n"
	"all/ (query over every tenant; tenants by last access), shared/ (mkdir makes\n"
	"a collection that each tenant may search as tenants/ID/shared/NAME).\n"
	"ruvectorfs(5) has every file, format and error.\n";

static int render_help(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                       struct err *e)
{
	buf_adds(ret, help);
	return 0;
}

static int render_version(struct tree *t, const struct caller *who, struct node n, struct buf *ret,
                          struct err *e)
{
	buf_addf(ret, "%s\n", t->options.version);
	return 0;
}

const struct file_ops file_readme = { .render = render_help };
const struct file_ops file_version = { .render = render_version };

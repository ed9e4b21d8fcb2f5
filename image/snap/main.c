/* apppot-snap: snapshots of a system: its state as a base, what changed since as a layer, and back. */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snap.h"

struct options options = {.root = "/"};

static const char help[] =
	"usage: apppot-snap [OPTION]... COMMAND [FILE]...\n"
	"\n"
	"  base               record the state of the system as the base of later changes\n"
	"  changes [-o FILE]  write what differs from the base (~/job/apppot.YYYY-MM-DD.changes.tar.gz; - for standard output)\n"
	"  merge FILE...      make the system what it was when the changes were written; all of a file or nothing\n"
	"  inspect FILE       list a changes file like a diff: A added, M modified, D deleted, T only touched\n"
	"  verify FILE        is it whole, and which base does it belong to?\n"
	"  layer-tar FILE     the same content for overlayfs, to be made a squashfs\n"
	"  manifest           the state of the system on standard output\n"
	"  recover            finish a change that was interrupted (every command does)\n"
	"\n"
	"  -o, --output FILE     .zst and .gz are compressed\n"
	"      --root DIR        another system than the running one\n"
	"      --base FILE       a base's manifest instead of the recorded one\n"
	"      --exclude FILE    a list of paths that stay out instead of /" EXCLUDE_FILE "\n"
	"      --force           merge into another base\n"
	"      --suspect-all     read every file, whatever inode and times say\n"
	"      --built           base: an image will be made of the tree by mke2fs\n"
	"      --stat            inspect: counts alone\n"
	"  -n, --just-print      say what would be done, do nothing\n"
	"  -v, --verbose         name every path\n"
	"      --json            one object on standard output\n"
	"      --progress        lines `progress DONE TOTAL` on standard error\n"
	"  -h, --help            this text; -V, --version: the version\n"
	"\n"
	"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 other base, 4 damaged or hostile archive, 5 no base recorded.\n";

enum { ROOT = 256, BASE, EXCLUDE, FORCE, SUSPECT, BUILT, STAT, JSON, PROGRESS, PLAIN };

static const struct option long_options[] = {
	{"output", required_argument, NULL, 'o'}, {"root", required_argument, NULL, ROOT},
	{"base", required_argument, NULL, BASE}, {"exclude", required_argument, NULL, EXCLUDE},
	{"force", no_argument, NULL, FORCE}, {"suspect-all", no_argument, NULL, SUSPECT},
	{"built", no_argument, NULL, BUILT}, {"stat", no_argument, NULL, STAT}, {"just-print", no_argument, NULL, 'n'},
	{"verbose", no_argument, NULL, 'v'}, {"json", no_argument, NULL, JSON}, {"progress", no_argument, NULL, PROGRESS},
	{"plain-digest", no_argument, NULL, PLAIN}, {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static const struct {
	const char *name;
	void (*function)(void);
	bool takes_files;
} commands[] = {
	{"base", command_base, false}, {"changes", command_changes, false}, {"merge", command_merge, true},
	{"inspect", command_inspect, true}, {"verify", command_verify, true}, {"layer-tar", command_layer_tar, true},
	{"manifest", command_manifest, false}, {"recover", command_recover, false},
};

static void take_option(int option)
{
	switch (option) {
	case 'o': options.output = optarg; break;
	case 'n': options.just_print = true; break;
	case 'v': options.verbose = true; break;
	case ROOT: options.root = optarg; break;
	case BASE: options.base = optarg; break;
	case EXCLUDE: options.exclude = optarg; break;
	case FORCE: options.force = true; break;
	case SUSPECT: options.suspect_all = true; break;
	case BUILT: options.built = true; break;
	case STAT: options.stat = true; break;
	case JSON: options.json = true; break;
	case PROGRESS: options.progress = true; break;
	case PLAIN: sha256_plain(); break;
	case 'h': fputs(help, stdout); exit(0);
	case 'V': puts("apppot-snap " SNAP_VERSION); exit(0);
	default: die(USAGE, "apppot-snap --help", "wrong option");
	}
}

/* Ctrl-C: the next path or block sees it. What was prepared goes; what was committed is finished first. */
static void stop(int number)
{
	if (interrupted)
		_exit(128 + number);
	interrupted = 1;
}

/* The calls for attributes know no folder descriptors, so this program changes its folder: names get absolute. */
static const char *absolute(const char *name)
{
	char *folder;
	if (name == NULL || *name == '/' || strcmp(name, "-") == 0 || (folder = getcwd(NULL, 0)) == NULL)
		return name;
	struct text text = {0};
	add(&text, folder);
	add(&text, "/");
	add(&text, name);
	free(folder);
	return text.data;
}

int main(int argc, char **argv)
{
	umask(022);
	/* The desktop says so in the guests that it boots for nothing else. */
	options.still = getenv("APPPOT_SNAP_STILL") != NULL;
	for (int option; (option = getopt_long(argc, argv, "o:nvhV", long_options, NULL)) != -1;)
		take_option(option);
	if (!sha256_works())
		die(FAILED, NULL, "the digest's known answers do not come out: is the processor sound?");
	const char *name = optind < argc ? argv[optind] : "";
	options.command = name;
	options.files = argv + optind + 1;
	options.file_count = optind < argc ? argc - optind - 1 : 0;
	options.root = absolute(options.root);
	options.output = absolute(options.output);
	options.base = absolute(options.base);
	options.exclude = absolute(options.exclude);
	for (int i = 0; i < options.file_count; i++)
		options.files[i] = (char *)absolute(options.files[i]);
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	signal(SIGHUP, stop);
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		if (strcmp(commands[i].name, name) != 0)
			continue;
		if (!commands[i].takes_files && options.file_count > 0)
			die(USAGE, "apppot-snap --help", "%s takes no file; where to write says -o", name);
		commands[i].function();
		if (fflush(stdout) != 0)
			die_errno("cannot write the result");
		return 0;
	}
	die(USAGE, "apppot-snap --help", *name == '\0' ? "which command?" : "there is no command %s", name);
}

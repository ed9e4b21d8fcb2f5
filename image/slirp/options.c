/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The command line of the supervisor. apppot-start has checked what users give;
 * what is wrong here is a mistake of the caller.
 */
#include "launch.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef APPPOT_VERSION
#define APPPOT_VERSION "0"
#endif

enum name {
	PLAIN = 256, CONSOLE, RUN_BASE, ID, WORDS, LEGACY_KERNEL, NO_CONFINE, FULL_BOOT, SCRATCH, EXEC, ASK, CRC32C, KEEP_RUN_FOLDER, OUTCOME, KERNEL, KERNEL_ARG, IMAGE, COW, CHANGES,
	WRITE, JOB_FOLDER, BIND, MEM, CPUS, NETWORK, HOST_LOOPBACK, FORWARD, LEGACY_SLIRP, PIN,
	DIE_WITH_PARENT, NO_STDIN, GRACE, TIME, BOOT_TIMEOUT, ENV, DEFAULT_ENV, ENV_FILE, ENV_LIST, PWD, NAME, SHELL, AS_ROOT, VERSION, HELP,
};

static const struct option names[] = {
	{ "plain", no_argument, NULL, PLAIN },
	{ "console", required_argument, NULL, CONSOLE },
	{ "run-base", required_argument, NULL, RUN_BASE },
	{ "id", required_argument, NULL, ID },
	{ "words", required_argument, NULL, WORDS },
	{ "legacy-kernel", no_argument, NULL, LEGACY_KERNEL },
	{ "no-confine", no_argument, NULL, NO_CONFINE },
	{ "full-boot", no_argument, NULL, FULL_BOOT },
	{ "scratch", required_argument, NULL, SCRATCH },
	{ "exec", required_argument, NULL, EXEC },
	{ "ask", required_argument, NULL, ASK },
	{ "crc32c", required_argument, NULL, CRC32C },
	{ "keep-run-folder", no_argument, NULL, KEEP_RUN_FOLDER },
	{ "outcome", required_argument, NULL, OUTCOME },
	{ "kernel", required_argument, NULL, KERNEL },
	{ "kernel-arg", required_argument, NULL, KERNEL_ARG },
	{ "image", required_argument, NULL, IMAGE },
	{ "cow", required_argument, NULL, COW },
	{ "changes", required_argument, NULL, CHANGES },
	{ "write", no_argument, NULL, WRITE },
	{ "job-folder", required_argument, NULL, JOB_FOLDER },
	{ "bind", required_argument, NULL, BIND },
	{ "mem", required_argument, NULL, MEM },
	{ "cpus", required_argument, NULL, CPUS },
	{ "network", required_argument, NULL, NETWORK },
	{ "host-loopback", no_argument, NULL, HOST_LOOPBACK },
	{ "forward", required_argument, NULL, FORWARD },
	{ "legacy-slirp", required_argument, NULL, LEGACY_SLIRP },
	{ "pin", no_argument, NULL, PIN },
	{ "die-with-parent", no_argument, NULL, DIE_WITH_PARENT },
	{ "no-stdin", no_argument, NULL, NO_STDIN },
	{ "grace", required_argument, NULL, GRACE },
	{ "time", required_argument, NULL, TIME },
	{ "boot-timeout", required_argument, NULL, BOOT_TIMEOUT },
	{ "env", required_argument, NULL, ENV },
	{ "default-env", required_argument, NULL, DEFAULT_ENV },
	{ "env-file", required_argument, NULL, ENV_FILE },
	{ "env-list", required_argument, NULL, ENV_LIST },
	{ "pwd", required_argument, NULL, PWD },
	{ "name", required_argument, NULL, NAME },
	{ "shell", no_argument, NULL, SHELL },
	{ "as-root", no_argument, NULL, AS_ROOT },
	{ "version", no_argument, NULL, VERSION },
	{ "help", no_argument, NULL, HELP },
	{ NULL, 0, NULL, 0 },
};

static const char usage[] =
	"usage: slirp --kernel KERNEL --image FILE [options] -- [PROGRAM [ARG...]]\n"
	"       slirp --plain [--network user] [--console FILE] [--pin] -- KERNEL [ARG...]\n"
	"\n"
	"Supervisor and network of one AppPot guest. apppot-start calls it; its options are\n"
	"those of apppot-start, checked and complete. See \"apppot-start --help\".\n"
	"\n"
	"       slirp --exec RUN-FOLDER [--ask stop|status | -- PROGRAM [ARG...]]\n"
	"       slirp --crc32c FILE\n"
	"  --plain  start KERNEL as it is, in the current folder: no job, the console on\n"
	"           standard error or in FILE, exit code of the kernel\n";

static long seconds(const char *text, const char *option)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || *end || end == text || value < 0)
		die("usage", NULL, "%s takes whole seconds, not \"%s\"", option, text);
	return value;
}

/* SOURCE, NUL-free; ":ro" or ":rw" and the guest's path come from two further words. */
static void add_bind(struct options *options, const char *source, const char *target,
		     const char *mode)
{
	options->binds = realloc(options->binds,
				 (options->bind_count + 1) * sizeof(*options->binds));
	if (!options->binds)
		die("launch", NULL, "out of memory");
	options->binds[options->bind_count++] = (struct bind){
		.source = source, .target = target, .read_only = strcmp(mode, "ro") == 0,
	};
}

static void one_option(struct options *options, int name, char **argv)
{
	switch (name) {
	case PLAIN: options->plain = true; break;
	case CONSOLE: options->console = optarg; break;
	case RUN_BASE: options->run_base = optarg; break;
	case ID: options->id = optarg; break;
	case WORDS: options->words = atoi(optarg); break;
	case LEGACY_KERNEL: options->legacy_kernel = true; break;
	case NO_CONFINE: options->no_confine = true; break;
	case FULL_BOOT: options->full_boot = true; break;
	case SCRATCH: options->scratch = optarg; break;
	case EXEC: options->exec_folder = optarg; break;
	case ASK: options->ask = optarg; break;
	case CRC32C: options->crc32c = optarg; break;
	case KEEP_RUN_FOLDER: options->keep_run_folder = true; break;
	case OUTCOME: options->outcome = optarg; break;
	case KERNEL: options->kernel = optarg; break;
	case KERNEL_ARG: strings_add(&options->kernel_args, optarg); break;
	case IMAGE: options->image = optarg; break;
	case COW: options->cow = optarg; options->disk_mode = DISK_COW; break;
	case CHANGES: strings_add(&options->changes, optarg); break;
	case WRITE: options->disk_mode = DISK_WRITE; break;
	case JOB_FOLDER: options->job_folder = optarg; break;
	case BIND:
		if (!argv[optind] || !argv[optind + 1])
			die("usage", NULL, "--bind takes three words: SOURCE TARGET ro|rw");
		add_bind(options, optarg, argv[optind], argv[optind + 1]);
		optind += 2;
		break;
	case MEM: options->mem = optarg; break;
	case CPUS: options->cpus = atoi(optarg); break;
	case NETWORK: options->network = strcmp(optarg, "none") != 0; break;
	case HOST_LOOPBACK: options->host_loopback = true; break;
	case FORWARD: strings_add(&options->forwards, optarg); break;
	case LEGACY_SLIRP: options->legacy_slirp = optarg; break;
	case PIN: options->pin = true; break;
	case DIE_WITH_PARENT: options->die_with_parent = true; break;
	case NO_STDIN: options->no_stdin = true; break;
	case GRACE: options->grace_s = seconds(optarg, "--grace"); break;
	case TIME: options->time_s = seconds(optarg, "--time"); break;
	case BOOT_TIMEOUT: options->boot_timeout_s = seconds(optarg, "--boot-timeout"); break;
	case ENV: env_add(&options->env, optarg); break;
	case DEFAULT_ENV: env_add(&options->default_env, optarg); break;
	case ENV_FILE: env_file(&options->env, optarg); break;
	case ENV_LIST: env_list(&options->env, optarg); break;
	case PWD: options->pwd = optarg; break;
	/* At once: what is wrong with the words behind it is said in its name. */
	case NAME: options->program_name = program_name = optarg; break;
	case AS_ROOT: options->as_root = true; break;
	case SHELL: options->shell = true; break;
	case VERSION: printf("slirp (AppPot) %s\n", APPPOT_VERSION); exit(0);
	case HELP: fputs(usage, stdout); exit(0);
	default: fputs(usage, stderr); exit(EXIT_LAUNCHER);
	}
}

static void parse_words(int argc, char **argv, struct options *options)
{
	int name;

	while ((name = getopt_long(argc, argv, "+", names, NULL)) != -1)
		one_option(options, name, argv);
}

void parse_options(int argc, char **argv, struct options *options)
{
	*options = (struct options){ .mem = "512M", .cpus = 1, .grace_s = 20, .boot_timeout_s = 120,
				     .words = -1 };
	parse_words(argc, argv, options);
	options->program = argv + optind;
	if (options->plain) {
		if (!*options->program)
			die("usage", NULL, "--plain needs a kernel after --");
		options->kernel = *options->program++;
		for (char **arg = options->program; *arg; arg++)
			strings_add(&options->kernel_args, *arg);
		return;
	}
	options->program_words = argc - optind;
	if (options->words >= 0 && options->words < (int)options->program_words) {
		/*
		 * A shell can append to its list of words, not insert: options that
		 * are given several times come after the program's own words.
		 */
		options->program_words = options->words;
		argv += optind + options->words - 1;
		argc -= optind + options->words - 1;
		optind = 0;
		parse_words(argc, argv, options);
	}
	if (options->exec_folder || options->crc32c)
		return;
	if (!options->kernel || !options->image)
		die("usage", "Use apppot-start, which gives them.", "--kernel and --image are needed");
}

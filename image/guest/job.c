/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Starting the job: descriptors, user, environment, program. */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define GROUPS 64

struct account {
	uid_t uid;
	gid_t gid;
	char name[64];
	char home[256];
	char shell[256];
	gid_t groups[GROUPS];
	size_t group_count;
};

/*
 * Reads /etc/passwd and /etc/group itself: a static binary must not load the
 * name service modules of whatever C library the image has.
 */
static void find_account(struct account *account, uid_t uid, gid_t gid)
{
	FILE *file = fopen("/etc/passwd", "re");
	char line[1024];

	*account = (struct account){ .uid = uid, .gid = gid };
	strcpy(account->name, uid == 0 ? "root" : "user");
	strcpy(account->home, uid == 0 ? "/root" : "/home/user");
	strcpy(account->shell, "/bin/bash");
	while (file && fgets(line, sizeof(line), file)) {
		char name[64], home[256], shell[256];
		unsigned int id;

		if (sscanf(line, "%63[^:]:%*[^:]:%u:%*[^:]:%*[^:]:%255[^:]:%255[^\n]", name, &id, home,
			   shell) == 4 && id == uid) {
			strcpy(account->name, name);
			strcpy(account->home, home);
			strcpy(account->shell, shell);
			break;
		}
	}
	if (file)
		fclose(file);
	account->groups[account->group_count++] = gid;
	file = fopen("/etc/group", "re");
	while (file && fgets(line, sizeof(line), file) && account->group_count < GROUPS) {
		char *members = strrchr(line, ':');
		char *id_end = members;
		char *member, *rest;

		if (!members)
			continue;
		*members++ = '\0';
		members[strcspn(members, "\n")] = '\0';
		for (member = strtok_r(members, ",", &rest); member; member = strtok_r(NULL, ",", &rest)) {
			char *id = strrchr(line, ':');

			if (strcmp(member, account->name) == 0 && id && id < id_end)
				account->groups[account->group_count++] = strtoul(id + 1, NULL, 10);
		}
	}
	if (file)
		fclose(file);
}

/* --- descriptors --------------------------------------------------------------- */

static bool open_terminal(struct run *run, int *slave)
{
	struct winsize size = {
		.ws_row = strtoul(spec_value(run->spec, "rows", "24"), NULL, 10),
		.ws_col = strtoul(spec_value(run->spec, "columns", "80"), NULL, 10),
	};
	struct termios mode;
	char name[64];

	run->terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (run->terminal < 0 || grantpt(run->terminal) < 0 || unlockpt(run->terminal) < 0 ||
	    ptsname_r(run->terminal, name, sizeof(name)) != 0)
		return false;
	*slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0)
		return false;
	ioctl(run->terminal, TIOCSWINSZ, &size);
	if (tcgetattr(*slave, &mode) == 0) {
		mode.c_iflag |= IUTF8;
		/*
		 * A terminal outside that is not in raw mode (standard input is no
		 * terminal) adds the carriage returns itself.
		 */
		if (spec_value(run->spec, "fds", "nnn")[0] != 't')
			mode.c_oflag &= ~OPOST;
		tcsetattr(*slave, TCSANOW, &mode);
	}
	return true;
}

/* Opens what the job gets as descriptor `fd`; -1 for a closed one, -2 on failure. */
static int open_descriptor(struct run *run, int fd, char kind, int slave)
{
	int ends[2];

	switch (kind) {
	case 'c':
		return -1;
	case 'n':
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case 't':
		if (fd == 0)
			run->job_input = run->terminal;
		return slave;
	default:
		if (pipe2(ends, O_CLOEXEC) < 0)
			return -2;
		if (fd == 0) {
			run->job_input = ends[1];
			return ends[0];
		}
		return output_start(&run->outputs[fd - 1], ends[0], run->slot, fd) ? ends[1] : -2;
	}
}

/* --- program --------------------------------------------------------------------- */

/* The first of the given, and of what most terminals can do, that the guest knows (terminfo(5)). */
static const char *known_terminal(const char *wanted)
{
	static const char *const folders[] = { "/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo" };
	const char *const names[] = { wanted, strstr(wanted, "256color") ? "xterm-256color" : "xterm",
				      "vt100" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		for (size_t j = 0; j < sizeof(folders) / sizeof(*folders); j++) {
			char path[512];

			if (!*names[i] || strchr(names[i], '/'))
				continue;
			snprintf(path, sizeof(path), "%s/%c/%s", folders[j], *names[i], names[i]);
			if (access(path, R_OK) == 0)
				return names[i];
		}
	}
	return "dumb";
}

static void set_environment(const struct run *run, const struct account *account)
{
	const char *value = NULL;

	clearenv();
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", account->home, 1);
	setenv("USER", account->name, 1);
	setenv("LOGNAME", account->name, 1);
	setenv("SHELL", account->shell, 1);
	setenv("LANG", "C.UTF-8", 1);
	if (run->terminal >= 0)
		setenv("TERM", known_terminal(spec_value(run->spec, "term", "vt100")), 1);
	setenv("APPPOT_VERSION", APPPOT_VERSION, 1);
	setenv("APPPOT_JOB", "/home/user/job", 1);
	setenv("OMP_NUM_THREADS", spec_value(run->spec, "cpus", "1"), 1);
	while (run->spec->text && (value = spec_next(run->spec, "env", value))) {
		char *copy = strdup(value);

		if (copy && strchr(copy, '='))
			putenv(copy);
	}
}

static void enter_folder(const struct run *run, const struct account *account)
{
	const char *wanted = spec_value(run->spec, "pwd", NULL);

	if (wanted) {
		if (chdir(wanted) == 0)
			return;
		dprintf(STDERR_FILENO, "apppot: cannot enter %s: %s\n", wanted, strerror(errno));
		_exit(125);
	}
	if (chdir("/home/user/job") < 0 && chdir(account->home) < 0 && chdir("/") < 0)
		_exit(125);
}

static void become_user(const struct account *account)
{
	if (setgroups(account->group_count, account->groups) < 0 || setgid(account->gid) < 0 ||
	    setuid(account->uid) < 0)
		_exit(125);
}

static void become_job(struct run *run, const int fds[3], char **argv, const struct account *account)
{
	sigset_t none;
	int error;

	setsid();
	for (int fd = 0; fd < 3; fd++) {
		if (fds[fd] < 0)
			close(fd);
		else
			dup2(fds[fd], fd);
	}
	if (run->terminal >= 0) {
		for (int fd = 0; fd < 3; fd++)
			if (isatty(fd) && ioctl(fd, TIOCSCTTY, 0) == 0)
				break;
	}
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	set_environment(run, account);
	become_user(account);
	enter_folder(run, account);
	execvp(argv[0], argv);
	error = errno;
	dprintf(STDERR_FILENO, "apppot: %s: %s\n", argv[0],
		error == ENOENT ? "no such program in the guest" : strerror(error));
	_exit(error == ENOENT ? 127 : 126);
}

/* The program: what the launcher was given, or what the first process chose. */
static char **find_program(const struct run *run, int argc, char **argv)
{
	const char *value = NULL;
	char **words;
	size_t count = 0;

	if (argc > 0)
		return argv;
	while (run->spec->text && (value = spec_next(run->spec, "arg", value)))
		count++;
	words = calloc(count + 1, sizeof(*words));
	for (size_t i = 0; words && i < count; i++)
		words[i] = (char *)(value = spec_next(run->spec, "arg", value));
	return words;
}

static void keep_low_descriptors_taken(void)
{
	/* So that no pipe becomes descriptor 0, 1 or 2 and is lost to the dup2 above. */
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd < 3);
	close(fd);
}

bool job_start(struct run *run, int argc, char **argv)
{
	const char *kinds = spec_value(run->spec, "fds", "nnn");
	char **words = find_program(run, argc, argv);
	struct account account;
	int fds[3];
	int slave = -1;

	if (!words || !words[0]) {
		errno = EINVAL;
		return false;
	}
	keep_low_descriptors_taken();
	find_account(&account, strtoul(spec_value(run->spec, "uid", "1000"), NULL, 10),
		     strtoul(spec_value(run->spec, "gid", "1000"), NULL, 10));
	if (strchr(kinds, 't')) {
		if (!open_terminal(run, &slave))
			return false;
		/* The shell's own /dev/tty, mesg, screen: all want to own it. */
		if (fchown(slave, account.uid, 5) < 0)
			complain("cannot give the terminal to the user: %m");
		fchmod(slave, 0620);
		if (!output_start(&run->outputs[2], run->terminal, run->slot, LINE_TERMINAL))
			return false;
	}
	for (int fd = 0; fd < 3; fd++) {
		fds[fd] = open_descriptor(run, fd, kinds[fd], slave);
		if (fds[fd] == -2)
			return false;
	}
	run->pid = fork();
	if (run->pid < 0)
		return false;
	if (run->pid == 0)
		become_job(run, fds, words, &account);
	for (int fd = 0; fd < 3; fd++)
		if (fds[fd] > 2 && fds[fd] != slave)
			close(fds[fd]);
	if (slave >= 0)
		close(slave);
	return run->job_input < 0 || input_start(run);
}

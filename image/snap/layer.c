/* apppot-snap layer-tar: a changes file as the upper folder of an overlay: what is deleted is a character device 0:0,
 * an opaque folder has an attribute (Linux, Documentation/filesystems/overlayfs.rst). */
#include <stdlib.h>
#include <string.h>

#include "snap.h"

/* Access lists have names that squashfs has no number for: whoever makes a layer has to know. */
static bool has_acl(const struct entry *entry)
{
	static const char name[] = "system.posix_acl_";
	const char *list = entry->xattrs.length > 0 ? entry->xattrs.data : "";
	while (strncmp(list, name, sizeof name - 1) != 0) {
		list = strchr(list, ',');
		if (list == NULL)
			return false;
		list++;
	}
	return true;
}

void command_layer_tar(void)
{
	unsigned long long entries = 0, acls = 0;
	struct archive *archive = allocate(sizeof *archive);
	struct stream output;
	static struct entry root = {.type = 'd', .path = ".", .mode = 0755};
	static uint8_t buffer[1 << 16];
	if (options.file_count != 1)
		die(USAGE, "apppot-snap --help", "layer-tar needs one changes file");
	open_archive(archive, options.files[0]);
	open_output(&output, options.output != NULL ? options.output : "-");
	bool first = true;
	while (next_entry(archive)) {
		struct entry *entry = &archive->entry;
		entries++;
		acls += has_acl(entry);
		if (first && strcmp(entry->path, ".") != 0)
			put_entry(&output, &root);
		first = false;
		if (entry->type == 'o')
			continue;
		if (entry->type == 'w') {
			entry->type = 'c';
			entry->mode = entry->uid = entry->gid = entry->major = entry->minor = 0;
		}
		if (entry->opaque) {
			if (strcmp(entry->xattrs.data, "-") == 0)
				entry->xattrs.length = 0;
			add(&entry->xattrs, entry->xattrs.length > 0 ? ",trusted.overlay.opaque=79" : "trusted.overlay.opaque=79");
		}
		entry->change = 'A';
		entry->opaque = false;
		entry->was.length = 0;
		put_entry(&output, entry);
		uint64_t size = archive->left;
		for (size_t length; (length = get_content(archive, buffer, sizeof buffer)) > 0;)
			put_bytes(&output, buffer, length);
		put_padding(&output, size);
	}
	if (first)
		put_entry(&output, &root);
	put_end(&output);
	close_output(&output);
	if (options.json)
		fprintf(options.output == NULL || strcmp(options.output, "-") == 0 ? stderr : stdout,
			"{\"base\":\"%s\",\"entries\":%llu,\"acls\":%llu}\n", archive->base, entries, acls);
}

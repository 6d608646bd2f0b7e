/*
 * Reading hostile files into guest RAM, and finding room there.
 */
#include "vmm/boot_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_SIZE 4096u

int boot_fail(struct boot *boot, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(boot->why, boot->why_size, fmt, args);
	va_end(args);
	return err;
}

int boot_file_size(struct boot *boot, const struct boot_file *file, uint64_t *size)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		return boot_fail(boot, -errno, "%s: %s", file->name, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return boot_fail(boot, -EINVAL, "%s: not a regular file", file->name);
	*size = (uint64_t)st.st_size;
	return 0;
}

/* Reads until len bytes are there; the file may shrink under us. */
static int read_whole(struct boot *boot, const struct boot_file *file, uint64_t offset,
		      uint8_t *buf, uint64_t len, const char *what)
{
	while (len) {
		ssize_t n = pread(file->fd, buf, (size_t)MIN(len, GIB), (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return boot_fail(boot, -errno, "%s: reading %s: %s", file->name, what,
					 strerror(errno));
		if (n == 0)
			return boot_fail(boot, -EINVAL, "%s: ends at %llu, within %s", file->name,
					 (unsigned long long)offset, what);
		buf += n;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int boot_file_read(struct boot *boot, const struct boot_file *file, uint64_t offset, void *buf,
		   size_t len, const char *what)
{
	if (offset > INT64_MAX - len)
		return boot_fail(boot, -EINVAL, "%s: offset 0x%llx of %s is absurd", file->name,
				 (unsigned long long)offset, what);
	return read_whole(boot, file, offset, buf, len, what);
}

/* The longest piece of [gpa, gpa + len) that one slot holds. */
static uint8_t *piece(struct boot *boot, gpa_t gpa, uint64_t len, uint64_t *piece_len)
{
	const struct mem_slot *slot = guest_memory_find(boot->gm, gpa, 1);

	if (!slot)
		return NULL;
	*piece_len = MIN(len, slot->size - (gpa - slot->gpa));
	return slot->hva + (gpa - slot->gpa);
}

int boot_file_to_guest(struct boot *boot, const struct boot_file *file, uint64_t offset, gpa_t gpa,
		       uint64_t len, const char *what)
{
	while (len) {
		uint64_t n;
		uint8_t *p = piece(boot, gpa, len, &n);
		int err;

		if (!p)
			return boot_fail(boot, -EFAULT, "%s: no guest RAM at 0x%llx for %s",
					 file->name, (unsigned long long)gpa, what);
		err = read_whole(boot, file, offset, p, n, what);
		guest_memory_dirtied(boot->gm, gpa, n);
		if (err)
			return err;
		gpa += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int boot_zero(struct boot *boot, gpa_t gpa, uint64_t len)
{
	while (len) {
		uint64_t n;
		uint8_t *p = piece(boot, gpa, len, &n);

		if (!p)
			return boot_fail(boot, -EFAULT, "no guest RAM at 0x%llx",
					 (unsigned long long)gpa);
		memset(p, 0, n);
		guest_memory_dirtied(boot->gm, gpa, n);
		gpa += n;
		len -= n;
	}
	return 0;
}

int boot_write(struct boot *boot, gpa_t gpa, const void *buf, size_t len)
{
	int err = guest_memory_write(boot->gm, gpa, buf, len);

	return err ? boot_fail(boot, err, "no guest RAM at 0x%llx", (unsigned long long)gpa) : 0;
}

static const struct boot_range *taken_by(const struct boot *boot, gpa_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < boot->taken_count; i++) {
		const struct boot_range *r = &boot->taken[i];

		if (range_overlaps(gpa, len, r->base, r->size))
			return r;
	}
	return NULL;
}

static int take(struct boot *boot, gpa_t gpa, uint64_t len)
{
	if (boot->taken_count == BOOT_MAX_TAKEN)
		return boot_fail(boot, -ENOSPC, "more than %u pieces to load", BOOT_MAX_TAKEN);
	boot->taken[boot->taken_count++] = (struct boot_range){.base = gpa, .size = len};
	return 0;
}

static bool usable(const struct boot *boot, gpa_t gpa, uint64_t len)
{
	if (gpa < BOOT_HIGH_RAM_START || !range_within(gpa, len, BOOT_ADDRESS_LIMIT))
		return false;
	for (unsigned int i = 0; i < boot->map_count; i++) {
		const struct boot_map_entry *e = &boot->map[i];

		if (e->type == BOOT_MAP_RAM && gpa >= e->base &&
		    range_within(gpa - e->base, len, e->size))
			return true;
	}
	return false;
}

int boot_take(struct boot *boot, gpa_t gpa, uint64_t len, const char *what)
{
	const struct boot_range *other;

	if (!usable(boot, gpa, len))
		return boot_fail(boot, -ENOMEM,
				 "kernel %s: %s needs 0x%llx bytes of guest RAM at 0x%llx, and "
				 "there is not that much between 1 MiB and 4 GiB",
				 boot->req->kernel.name, what, (unsigned long long)len,
				 (unsigned long long)gpa);
	other = taken_by(boot, gpa, len);
	if (other)
		return boot_fail(boot, -EINVAL,
				 "kernel %s: %s at 0x%llx overlaps another part at 0x%llx",
				 boot->req->kernel.name, what, (unsigned long long)gpa,
				 (unsigned long long)other->base);
	return take(boot, gpa, len);
}

/* Top down within one RAM range, stepping below what is taken: at most taken_count + 1 steps. */
static bool find_room(const struct boot *boot, const struct boot_map_entry *ram, uint64_t len,
		      gpa_t limit, gpa_t *where)
{
	gpa_t base = MAX(ram->base, BOOT_HIGH_RAM_START);
	gpa_t end = MIN(ram->base + ram->size, limit);

	while (end > base && end - base >= len) {
		gpa_t gpa = ALIGN_DOWN(end - len, PAGE_SIZE);
		const struct boot_range *other;

		if (gpa < base)
			return false;
		other = taken_by(boot, gpa, len);
		if (!other) {
			*where = gpa;
			return true;
		}
		end = other->base;
	}
	return false;
}

int boot_place_file(struct boot *boot, const struct boot_file *file, gpa_t limit,
		    struct boot_range *where)
{
	int err = boot_file_size(boot, file, &where->size);

	if (err)
		return err;
	if (!where->size)
		return boot_fail(boot, -EINVAL, "%s: empty", file->name);
	limit = MIN(limit, BOOT_ADDRESS_LIMIT);
	for (unsigned int i = boot->map_count; i--;) {
		if (boot->map[i].type != BOOT_MAP_RAM ||
		    !find_room(boot, &boot->map[i], where->size, limit, &where->base))
			continue;
		err = take(boot, where->base, where->size);
		return err ? err : boot_file_to_guest(boot, file, 0, where->base, where->size,
						      "its content");
	}
	return boot_fail(boot, -ENOMEM,
			 "%s: no room for its %llu bytes in guest RAM below 0x%llx beside the "
			 "kernel; give the guest more memory",
			 file->name, (unsigned long long)where->size, (unsigned long long)limit);
}

int boot_place_string(struct boot *boot, const char *string, size_t max, gpa_t *where)
{
	size_t len;
	int err;

	if (!string)
		string = "";
	len = strlen(string);
	if (len > max)
		return boot_fail(boot, -E2BIG,
				 "a command line of %zu characters, at most %zu are allowed: "
				 "\"%.24s...\"",
				 len, max, string);
	if (len + 1 > BOOT_STRINGS_SIZE - boot->strings_used)
		return boot_fail(boot, -E2BIG, "the command lines together exceed %u bytes",
				 BOOT_STRINGS_SIZE);
	*where = BOOT_STRINGS + boot->strings_used;
	err = boot_write(boot, *where, string, len + 1);
	boot->strings_used += (uint32_t)len + 1;
	return err;
}

static int place_module(struct boot *boot, const struct boot_file *file,
			struct boot_module *module)
{
	int err = boot_place_file(boot, file, BOOT_ADDRESS_LIMIT, &module->data);

	return err ? err : boot_place_string(boot, file->cmdline, BOOT_CMDLINE_MAX,
					     &module->cmdline);
}

int boot_place_modules(struct boot *boot, struct boot_module *modules)
{
	const struct boot_request *req = boot->req;
	int n = 0;
	int err;

	if (req->initrd) {
		err = place_module(boot, req->initrd, &modules[n++]);
		if (err)
			return err;
	}
	for (unsigned int i = 0; i < req->module_count; i++) {
		err = place_module(boot, &req->modules[i], &modules[n++]);
		if (err)
			return err;
	}
	return n;
}

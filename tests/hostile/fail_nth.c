/*
 * A library to preload: makes the n-th allocation or system call of a program fail, as an errno
 * says it may, and tells where that was.
 *
 * FAIL_NTH names the control file (fail_nth.h), FAIL_NTH_PROGRAM the program that is meant (others
 * that inherit the environment are left alone), FAIL_NTH_LIBRARIES the parts of names of libraries
 * whose calls count as FAIL_LIBRARY, separated by colons. A call counts by who makes it: the
 * program or a library, told by the return address. The C library's own calls never count.
 *
 * No call is made to fail that a correct program need not look at (close, a mutex, the clock).
 */
#include "tests/hostile/fail_nth.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_RANGES 64u

struct range {
	uintptr_t start, end;
	uint32_t scope;
};

static struct fail_control none, *control = &none;
static struct range ranges[MAX_RANGES];
static unsigned int range_count;
static uintptr_t program_base;
static _Thread_local bool busy;

uint32_t fail_nth_scope(const void *where)
{
	uintptr_t addr = (uintptr_t)where;

	for (unsigned int i = 0; i < range_count; i++) {
		if (addr >= ranges[i].start && addr < ranges[i].end)
			return ranges[i].scope;
	}
	return 0;
}

static void record(const char *name, int err)
{
	void *frames[FAIL_FRAMES];
	int n = backtrace(frames, FAIL_FRAMES);

	control->err = err;
	snprintf(control->name, sizeof(control->name), "%s", name);
	for (int i = 0; i < n; i++) {
		bool own = fail_nth_scope(frames[i]) == FAIL_OWN;

		control->frames[i] = own ? (uintptr_t)frames[i] - program_base : 0;
	}
	control->frame_count = (uint32_t)n;
}

bool fail_nth_fails(uint32_t class, const char *name, int err, void *caller)
{
	uint64_t count;

	if (!(atomic_load_explicit(&control->classes, memory_order_relaxed) & class) || busy ||
	    !(fail_nth_scope(caller) & control->scopes))
		return false;
	count = atomic_fetch_add(&control->count, 1) + 1;
	if (!control->n || count < control->n || count >= control->n + control->span)
		return false;
	busy = true;
	if (atomic_fetch_add(&control->failed, 1) == 0)
		record(name, err);
	busy = false;
	errno = err;
	return true;
}

void *fail_nth_next(void **slot, const char *name)
{
	if (!*slot)
		*slot = dlsym(RTLD_NEXT, name);
	if (!*slot)
		abort();
	return *slot;
}

static uint32_t scope_of_module(const char *path)
{
	const char *names = getenv("FAIL_NTH_LIBRARIES");
	const char *base = strrchr(path, '/');

	if (!*path)
		return FAIL_OWN;
	base = base ? base + 1 : path;
	while (names && *names) {
		size_t len = strcspn(names, ":");

		if (len && memmem(base, strlen(base), names, len))
			return FAIL_LIBRARY;
		names += len + (names[len] == ':');
	}
	return 0;
}

static int add_module(struct dl_phdr_info *info, size_t size, void *opaque)
{
	uint32_t scope = scope_of_module(info->dlpi_name);

	(void)size;
	(void)opaque;
	if (scope == FAIL_OWN && !program_base)
		program_base = info->dlpi_addr;
	else if (scope == FAIL_OWN)
		return 0; /* the vDSO on some systems has no name either */
	for (unsigned int i = 0; scope && i < info->dlpi_phnum && range_count < MAX_RANGES; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + segment->p_vaddr;

		if (segment->p_type == PT_LOAD && segment->p_flags & PF_X)
			ranges[range_count++] = (struct range){
				.start = start,
				.end = start + segment->p_memsz,
				.scope = scope,
			};
	}
	return 0;
}

static void __attribute__((constructor)) start(void)
{
	const char *path = getenv("FAIL_NTH");
	const char *program = getenv("FAIL_NTH_PROGRAM");
	struct fail_control *mapped;
	void *frame;
	int fd;

	if (!path || !program || strcmp(program, program_invocation_short_name))
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	mapped = fd < 0 ? MAP_FAILED :
			  mmap(NULL, sizeof(*mapped), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED || mapped->magic != FAIL_MAGIC) {
		fprintf(stderr, "fail_nth: %s: %m\n", path);
		_exit(125);
	}
	close(fd);
	dl_iterate_phdr(add_module, NULL);
	backtrace(&frame, 1); /* loads what it needs, now and not in the midst of a failure */
	control = mapped;
}

/* dlsym() itself may allocate: from here, and not given back. */
static char early[65536];
static size_t early_used;

static bool is_early(const void *p)
{
	return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

static void *early_alloc(size_t size)
{
	size_t at = early_used;

	early_used += (size + 15) & ~(size_t)15;
	return early_used <= sizeof(early) ? early + at : NULL;
}

/* NULL until we are relocated; a sanitizer starts, and has ld.so allocate, before that. */
static void *(*volatile resolver)(void *handle, const char *name) = dlsym;
static _Thread_local bool resolving;

/* The next of this name, or NULL while it is being looked for. */
static void *next_alloc(void **slot, const char *name)
{
	if (*slot)
		return *slot;
	if (!resolver || resolving)
		return NULL;
	resolving = true;
	fail_nth_next(slot, name);
	resolving = false;
	return *slot;
}

#define NEXT_ALLOC(name)                                                                           \
	static void *slot;                                                                         \
	__typeof__(&name) real = next_alloc(&slot, #name)

#define ALLOC_FAILS(name) fail_nth_fails(FAIL_ALLOC, #name, ENOMEM, __builtin_return_address(0))

static void *counted(void *p)
{
	if (p)
		atomic_fetch_add_explicit(&control->blocks, 1, memory_order_relaxed);
	return p;
}

/* What ld.so allocates is its own; with us between, the leak sanitizer would not see whose it is. */
const char *__lsan_default_suppressions(void)
{
	return "leak:ld-linux-x86-64\n";
}

void *malloc(size_t size)
{
	NEXT_ALLOC(malloc);

	if (!real)
		return early_alloc(size);
	return ALLOC_FAILS(malloc) ? NULL : counted(real(size));
}

void *calloc(size_t n, size_t size)
{
	NEXT_ALLOC(calloc);

	if (!real)
		return early_alloc(n * size);
	return ALLOC_FAILS(calloc) ? NULL : counted(real(n, size));
}

void *realloc(void *old, size_t size)
{
	NEXT_ALLOC(realloc);
	void *p;

	if (ALLOC_FAILS(realloc))
		return NULL;
	p = real(old, size);
	return old ? p : counted(p);
}

void free(void *p)
{
	NEXT_ALLOC(free);
	int err;

	if (!p || !real || is_early(p)) /* lost, while free() is looked for */
		return;
	err = errno;
	atomic_fetch_sub_explicit(&control->blocks, 1, memory_order_relaxed);
	real(p);
	errno = err;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	NEXT_ALLOC(aligned_alloc);

	return ALLOC_FAILS(aligned_alloc) ? NULL : counted(real(alignment, size));
}

int posix_memalign(void **p, size_t alignment, size_t size)
{
	NEXT_ALLOC(posix_memalign);
	int err;

	if (ALLOC_FAILS(posix_memalign))
		return ENOMEM;
	err = real(p, alignment, size);
	if (!err)
		counted(*p);
	return err;
}

/* These allocate by malloc() above, which counts the block; the caller of that is the C library. */
#define ALLOC(type, name, params, args) WRAP(FAIL_ALLOC, ENOMEM, NULL, type, name, params, args)

ALLOC(char *, strdup, (const char *s), (s))
ALLOC(char *, strndup, (const char *s, size_t n), (s, n))
ALLOC(FILE *, open_memstream, (char **p, size_t *size), (p, size))

int asprintf(char **text, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (ALLOC_FAILS(asprintf))
		return -1;
	va_start(ap, fmt);
	n = vasprintf(text, fmt, ap);
	va_end(ap);
	return n;
}

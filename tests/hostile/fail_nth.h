#ifndef TESTS_HOSTILE_FAIL_NTH_H
#define TESTS_HOSTILE_FAIL_NTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The file through which a test and the preloaded fail_nth.so speak: both map it, so that nothing
 * of it needs a system call once the process has started. injector.py reads and writes the same
 * fields; little endian, as laid out here.
 */
enum {
	FAIL_MAGIC = 0x4c494146, /* "FAIL" */
	FAIL_FRAMES = 32,
};

/* Classes and scopes are sets of bits. */
enum { FAIL_ALLOC = 1, FAIL_SYSCALL = 2 };
enum { FAIL_OWN = 1 /* called by the program itself */, FAIL_LIBRARY = 2 /* by a named library */ };

struct fail_control {
	uint32_t magic;
	_Atomic uint32_t classes; /* 0: nothing is counted and nothing fails */
	_Atomic uint32_t scopes;
	uint32_t span;		  /* so many calls fail, from the n-th on */
	uint64_t n;		  /* counted from 1; 0: only count */
	_Atomic uint64_t count;	  /* calls of these classes and scopes */
	_Atomic uint64_t failed;  /* calls made to fail */
	_Atomic int64_t blocks;	  /* allocated and not freed, by whomever */
	int32_t err;		  /* of the first that failed, as are the rest: */
	uint32_t frame_count;
	char name[32];
	uint64_t frames[FAIL_FRAMES]; /* offsets within the program; 0: elsewhere */
};

/* Counts a call; true: it has to fail, and errno is set. */
bool fail_nth_fails(uint32_t class, const char *name, int err, void *caller);
/* FAIL_OWN, FAIL_LIBRARY or 0: whose code is there. */
uint32_t fail_nth_scope(const void *addr);
/* The function of this name that we stand in front of; *slot remembers it. */
void *fail_nth_next(void **slot, const char *name);

/* A function that fails by returning `bad` with errno `e`. */
#define WRAP(class, e, bad, type, name, params, args)                                              \
	type name params                                                                           \
	{                                                                                          \
		static void *slot;                                                                 \
	                                                                                              \
		if (fail_nth_fails(class, #name, e, __builtin_return_address(0)))                           \
			return bad;                                                                \
		return ((type(*) params)fail_nth_next(&slot, #name)) args;                                  \
	}

#endif

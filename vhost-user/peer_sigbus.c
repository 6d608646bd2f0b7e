#include "vhost-user/peer_sigbus.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

/* Written by the control thread, read by the handler on any thread: `start` is set last and
 * cleared first. */
struct slot {
	_Atomic uintptr_t start; /* 0: free */
	_Atomic uintptr_t size;
	_Atomic int *fault;
	uintptr_t page;
	int value;
	int notify_fd;
};

static struct slot slots[PEER_SIGBUS_SLOTS];
static _Atomic int slots_used; /* all at and beyond it are free */
static struct sigaction previous;

/* Async-signal-safe, as all that the handler calls. */
static struct slot *slot_find(uintptr_t addr)
{
	int n = atomic_load_explicit(&slots_used, memory_order_acquire);

	for (int i = 0; i < n; i++) {
		uintptr_t start = atomic_load_explicit(&slots[i].start, memory_order_acquire);
		uintptr_t size = atomic_load_explicit(&slots[i].size, memory_order_acquire);

		/* Read again: the slot may be changing hands, which no mapping in use does. */
		if (start && addr - start < size &&
		    start == atomic_load_explicit(&slots[i].start, memory_order_acquire))
			return &slots[i];
	}
	return NULL;
}

static bool overlay(uintptr_t start, size_t size)
{
	return mmap((void *)start, size, PROT_READ | PROT_WRITE,
		    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

static bool slot_contain(struct slot *slot, uintptr_t addr)
{
	uintptr_t start = atomic_load_explicit(&slot->start, memory_order_relaxed);
	uint64_t one = 1;
	ssize_t n;

	/*
	 * The whole region: its other pages are no more to be relied upon than this one. A host
	 * that commits no more than it has may refuse so much: then each page as it comes.
	 */
	if (!overlay(start, slot->size) && !overlay(ALIGN_DOWN(addr, slot->page), slot->page))
		return false;
	atomic_store_explicit(slot->fault, slot->value, memory_order_release);
	/* An eventfd of our own that one reader drains: it cannot be full. */
	n = write(slot->notify_fd, &one, sizeof(one));
	(void)n;
	return true;
}

/* Not a peer's: what would have happened without us. */
static void pass_on(int signo, siginfo_t *info, void *context)
{
	if (previous.sa_flags & SA_SIGINFO) {
		previous.sa_sigaction(signo, info, context);
		return;
	}
	if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(signo);
		return;
	}
	/* The access is repeated on return and ends the process; a signal sent by someone is
	 * sent once more. */
	sigaction(SIGBUS, &previous, NULL);
	if (info->si_code <= 0)
		raise(signo);
}

static void on_sigbus(int signo, siginfo_t *info, void *context)
{
	int saved = errno;
	struct slot *slot = info->si_code > 0 ? slot_find((uintptr_t)info->si_addr) : NULL;

	if (!slot || !slot_contain(slot, (uintptr_t)info->si_addr))
		pass_on(signo, info, context);
	errno = saved;
}

int peer_sigbus_install(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct sigaction present;

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, NULL, &present) < 0)
		return -errno;
	if (present.sa_flags & SA_SIGINFO && present.sa_sigaction == on_sigbus)
		return 0;
	previous = present;
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

int peer_sigbus_enter(void *map, uint64_t size, uint64_t page, _Atomic int *fault, int value,
		      int notify_fd)
{
	for (int i = 0; i < PEER_SIGBUS_SLOTS; i++) {
		struct slot *slot = &slots[i];

		if (atomic_load_explicit(&slot->start, memory_order_relaxed))
			continue;
		atomic_store_explicit(&slot->size, size, memory_order_release);
		slot->page = page;
		slot->fault = fault;
		slot->value = value;
		slot->notify_fd = notify_fd;
		atomic_store_explicit(&slot->start, (uintptr_t)map, memory_order_release);
		if (i >= atomic_load_explicit(&slots_used, memory_order_relaxed))
			atomic_store_explicit(&slots_used, i + 1, memory_order_release);
		return i;
	}
	return -ENOSPC;
}

void peer_sigbus_leave(int slot)
{
	atomic_store_explicit(&slots[slot].start, 0, memory_order_release);
}

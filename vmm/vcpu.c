#include "vmm/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/log.h"
#include "vmm/cpuid.h"
#include "vmm/ept.h"
#include "vmm/numa_place.h"
#include "vmm/sandbox.h"
#include "vmm/vcpu_exit.h"
#include "vmm/vcpu_state.h"

#define KICK_SIGNAL SIGUSR1 /* only interrupts KVM_RUN; its handler does nothing */

enum want { WANT_PAUSE, WANT_RUN, WANT_QUIT };

struct vcpu {
	struct vcpu_group *group;
	unsigned int index;
	int fd;
	int stats_fd; /* or -errno */
	struct kvm_run *run;
	struct vcpu_state *power_on;
	pthread_t thread;
	bool started;
};

struct vcpu_group {
	struct vcpu_group_config config;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum want want;
	unsigned int parked;
	int failed; /* -errno: a thread did not start well, and ended */
	unsigned int count; /* vcpus that exist */
	struct vcpu vcpus[];
};

static void kicked(int signo)
{
}

/*
 * A vCPU about to enter KVM_RUN cannot miss this: immediate_exit is set before the signal is
 * sent, so either the ioctl sees the one or is interrupted by the other. Lock held.
 */
static void set_want(struct vcpu_group *group, enum want want)
{
	if (group->want == WANT_QUIT)
		return;
	group->want = want;
	pthread_cond_broadcast(&group->changed);
	if (want == WANT_RUN)
		return;
	for (unsigned int i = 0; i < group->count; i++) {
		__atomic_store_n(&group->vcpus[i].run->immediate_exit, 1, __ATOMIC_RELEASE);
		if (group->vcpus[i].started)
			pthread_kill(group->vcpus[i].thread, KICK_SIGNAL);
	}
}

/* Waits while the group is paused. False: the thread is to end. */
static bool park(struct vcpu *vcpu)
{
	struct vcpu_group *group = vcpu->group;
	bool go;

	pthread_mutex_lock(&group->lock);
	group->parked++;
	pthread_cond_broadcast(&group->changed);
	while (group->want == WANT_PAUSE)
		pthread_cond_wait(&group->changed, &group->lock);
	group->parked--;
	go = group->want == WANT_RUN;
	if (go)
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&group->lock);
	return go;
}

static void report(struct vcpu *vcpu, enum vcpu_event event, const char *what)
{
	char registers[512], message[768];

	vcpu_group_ask_pause(vcpu->group);
	vcpu_state_describe(vcpu->fd, registers, sizeof(registers));
	snprintf(message, sizeof(message), "vCPU %u: %s; %s", vcpu->index, what, registers);
	vcpu->group->config.event(vcpu->group->config.opaque, event, message);
}

/* The thread's name, and what it gives up. */
static bool confine(struct vcpu *vcpu)
{
	struct vcpu_group *group = vcpu->group;
	char name[16];
	int ret;

	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	(void)prctl(PR_SET_NAME, name);
	/* One at a time: libseccomp has state that threads share. */
	pthread_mutex_lock(&group->lock);
	ret = sandbox_confine_vcpu();
	if (ret < 0) {
		group->failed = ret;
		pthread_cond_broadcast(&group->changed);
	}
	pthread_mutex_unlock(&group->lock);
	return !ret;
}

/*
 * A vCPU parks only when KVM_RUN was interrupted: by then KVM has completed the access that the
 * last exit was for, and the registers are whole.
 */
static void *vcpu_main(void *opaque)
{
	struct vcpu *vcpu = opaque;
	const struct vcpu_group_config *config = &vcpu->group->config;
	bool go;

	go = confine(vcpu) && park(vcpu);
	while (go) {
		enum vcpu_event event;
		char what[192];

		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
			int err = errno;

			if (err == EINTR || err == EAGAIN) {
				go = park(vcpu);
				continue;
			}
			snprintf(what, sizeof(what), "KVM_RUN: %s", strerror(err));
			report(vcpu, VCPU_HOST_FAILURE, what);
			go = park(vcpu);
		} else if (!vcpu_exit_handle(vcpu->run, config->pio, config->mmio, &event, what,
					     sizeof(what))) {
			report(vcpu, event, what);
		}
	}
	return NULL;
}

static int create_step(char *why, size_t why_size, unsigned int index, const char *what, int err)
{
	snprintf(why, why_size, "vCPU %u: %s: %s", index, what, strerror(err));
	return -err;
}

static int set_cpuid(struct vcpu *vcpu, const struct kvm_cpuid2 *supported)
{
	const struct vcpu_group_config *config = &vcpu->group->config;
	const struct cpuid_config cpuid_config = {
		.cores = config->cores,
		.index = vcpu->index,
		.tsc_deadline = ioctl(config->vm->kvm_fd, KVM_CHECK_EXTENSION,
				      KVM_CAP_TSC_DEADLINE_TIMER) > 0,
	};
	struct kvm_cpuid2 *cpuid = cpuid_build(supported, &cpuid_config);
	int ret = 0;

	if (!cpuid)
		return -ENOMEM;
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		ret = -errno;
	free(cpuid);
	return ret;
}

static int vcpu_create(struct vcpu *vcpu, const struct kvm_cpuid2 *supported, char *why,
		       size_t why_size)
{
	struct kvm_vm *vm = vcpu->group->config.vm;
	void *run;
	int ret;

	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)vcpu->index);
	if (vcpu->fd < 0)
		return create_step(why, why_size, vcpu->index, "KVM refused to create it", errno);
	run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED) {
		ret = create_step(why, why_size, vcpu->index, "mapping KVM's shared page", errno);
		goto err_fd;
	}
	vcpu->run = run;
	ret = set_cpuid(vcpu, supported);
	if (ret < 0) {
		create_step(why, why_size, vcpu->index, "KVM refused its CPUID", -ret);
		goto err_run;
	}
	ret = vcpu_state_capture(vm->kvm_fd, vcpu->fd, &vcpu->power_on);
	if (ret < 0) {
		create_step(why, why_size, vcpu->index, "reading its state", -ret);
		goto err_run;
	}
	vcpu->stats_fd = kvm_stats_open(vcpu->fd);
	return 0;
err_run:
	munmap(run, vm->run_size);
err_fd:
	close(vcpu->fd);
	return ret;
}

/* vCPU threads take no signals but the kick: the others belong to the io thread. */
static int thread_start(struct vcpu *vcpu)
{
	const unsigned int *nodes = vcpu->group->config.host_nodes;
	sigset_t mask, old;
	int ret;

	sigfillset(&mask);
	sigdelset(&mask, KICK_SIGNAL);
	sigdelset(&mask, SIGBUS);
	sigdelset(&mask, SIGSEGV);
	pthread_sigmask(SIG_SETMASK, &mask, &old);
	ret = pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret)
		return -ret;
	vcpu->started = true;
	if (nodes)
		numa_place_thread(vcpu->thread, nodes[vcpu->index]);
	return 0;
}

/* Until each is parked, with nothing left to set up. */
static int await_threads(struct vcpu_group *group)
{
	int ret;

	pthread_mutex_lock(&group->lock);
	while (!group->failed && group->parked < group->count)
		pthread_cond_wait(&group->changed, &group->lock);
	ret = group->failed;
	pthread_mutex_unlock(&group->lock);
	return ret;
}

int vcpu_group_create(const struct vcpu_group_config *config, struct vcpu_group **out, char *why,
		      size_t why_size)
{
	struct sigaction action = {.sa_handler = kicked};
	struct kvm_cpuid2 *supported;
	struct vcpu_group *group;
	int ret = 0;

	supported = kvm_vm_supported_cpuid(config->vm);
	group = calloc(1, sizeof(*group) + config->count * sizeof(group->vcpus[0]));
	if (!supported || !group) {
		free(supported);
		free(group);
		return create_step(why, why_size, 0, "reading KVM's CPUID", errno ? errno : ENOMEM);
	}
	group->config = *config;
	pthread_mutex_init(&group->lock, NULL);
	pthread_cond_init(&group->changed, NULL);
	sigaction(KICK_SIGNAL, &action, NULL);
	for (unsigned int i = 0; i < config->count && !ret; i++) {
		struct vcpu *vcpu = &group->vcpus[i];

		vcpu->group = group;
		vcpu->index = i;
		ret = vcpu_create(vcpu, supported, why, why_size);
		if (!ret)
			group->count++;
	}
	free(supported);
	for (unsigned int i = 0; i < group->count && !ret; i++) {
		ret = thread_start(&group->vcpus[i]);
		if (ret < 0)
			create_step(why, why_size, i, "starting its thread", -ret);
	}
	if (!ret) {
		ret = await_threads(group);
		if (ret < 0)
			snprintf(why, why_size, "a vCPU's thread cannot be confined: %s",
				 strerror(-ret));
	}
	if (ret < 0) {
		vcpu_group_destroy(group);
		return ret;
	}
	*out = group;
	return 0;
}

void vcpu_group_destroy(struct vcpu_group *group)
{
	if (!group)
		return;
	pthread_mutex_lock(&group->lock);
	set_want(group, WANT_QUIT);
	pthread_mutex_unlock(&group->lock);
	for (unsigned int i = 0; i < group->count; i++) {
		struct vcpu *vcpu = &group->vcpus[i];

		if (vcpu->started)
			pthread_join(vcpu->thread, NULL);
		vcpu_state_free(vcpu->power_on);
		if (vcpu->stats_fd >= 0)
			close(vcpu->stats_fd);
		munmap(vcpu->run, group->config.vm->run_size);
		close(vcpu->fd);
	}
	pthread_cond_destroy(&group->changed);
	pthread_mutex_destroy(&group->lock);
	free(group);
}

int vcpu_group_reset(struct vcpu_group *group, const struct boot_cpu *entry)
{
	for (unsigned int i = 0; i < group->count; i++) {
		int ret = vcpu_state_reset(group->vcpus[i].power_on, group->vcpus[i].fd, i == 0);

		if (ret < 0)
			return ret;
	}
	return vcpu_state_enter(group->vcpus[0].fd, entry);
}

void vcpu_group_ask_pause(struct vcpu_group *group)
{
	pthread_mutex_lock(&group->lock);
	set_want(group, WANT_PAUSE);
	pthread_mutex_unlock(&group->lock);
}

void vcpu_group_pause(struct vcpu_group *group)
{
	pthread_mutex_lock(&group->lock);
	set_want(group, WANT_PAUSE);
	while (group->parked < group->count)
		pthread_cond_wait(&group->changed, &group->lock);
	pthread_mutex_unlock(&group->lock);
}

void vcpu_group_resume(struct vcpu_group *group)
{
	/* Lets the guest's watchdogs know that time passed without it; unsupported by guests
	 * that do not use KVM's clock, which is no error. */
	for (unsigned int i = 0; i < group->count; i++)
		(void)ioctl(group->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
	pthread_mutex_lock(&group->lock);
	set_want(group, WANT_RUN);
	pthread_mutex_unlock(&group->lock);
}

int vcpu_group_prefault(struct vcpu_group *group, struct ept *ept)
{
	return ept_prefault(ept, group->vcpus[0].fd);
}

int vcpu_group_stats(struct vcpu_group *group, kvm_stat_fn emit, void *opaque)
{
	for (unsigned int i = 0; i < group->count; i++) {
		int fd = group->vcpus[i].stats_fd;
		int ret = fd < 0 ? fd : kvm_stats_read(fd, emit, opaque);

		if (ret < 0)
			return ret;
	}
	return 0;
}

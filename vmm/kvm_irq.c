#include "vmm/kvm_irq.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

static int reserve(struct kvm_irq *irq, unsigned int entries)
{
	unsigned int capacity = irq->capacity ? irq->capacity : 64;
	struct kvm_irq_routing *table;

	if (entries <= irq->capacity)
		return 0;
	while (capacity < entries)
		capacity *= 2;
	table = realloc(irq->table, sizeof(*table) + capacity * sizeof(table->entries[0]));
	if (!table)
		return -ENOMEM;
	if (!irq->table)
		memset(table, 0, sizeof(*table));
	irq->table = table;
	irq->capacity = capacity;
	return 0;
}

static int commit(struct kvm_irq *irq)
{
	return ioctl(irq->vm_fd, KVM_SET_GSI_ROUTING, irq->table) < 0 ? -errno : 0;
}

static void add_pin(struct kvm_irq *irq, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	irq->table->entries[irq->table->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = chip, .pin = pin},
	};
	irq->used[gsi / 64] |= 1ULL << (gsi % 64);
}

/*
 * As the PC wires them: GSIs below 16 reach PIC and IOAPIC, except that the timer's GSI 0 goes to
 * IOAPIC pin 2, where the cascade has no use for it.
 */
static void add_pins(struct kvm_irq *irq)
{
	for (uint32_t gsi = 0; gsi < 16; gsi++) {
		add_pin(irq, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
			gsi % 8);
		if (gsi != 2)
			add_pin(irq, gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? 2 : gsi);
	}
	for (uint32_t gsi = 16; gsi < KVM_IRQ_IOAPIC_PINS; gsi++)
		add_pin(irq, gsi, KVM_IRQCHIP_IOAPIC, gsi);
}

int kvm_irq_init(struct kvm_irq *irq, int vm_fd)
{
	int ret;

	*irq = (struct kvm_irq){.vm_fd = vm_fd};
	ret = reserve(irq, 64);
	if (ret < 0)
		return ret;
	pthread_mutex_init(&irq->lock, NULL);
	add_pins(irq);
	ret = commit(irq);
	if (ret < 0)
		kvm_irq_fini(irq);
	return ret;
}

void kvm_irq_fini(struct kvm_irq *irq)
{
	if (!irq->table)
		return;
	free(irq->table);
	irq->table = NULL;
	pthread_mutex_destroy(&irq->lock);
}

static struct kvm_irq_routing_entry *find_msi(struct kvm_irq *irq, uint32_t gsi)
{
	for (uint32_t i = 0; i < irq->table->nr; i++)
		if (irq->table->entries[i].gsi == gsi &&
		    irq->table->entries[i].type == KVM_IRQ_ROUTING_MSI)
			return &irq->table->entries[i];
	return NULL;
}

static int take_gsi(struct kvm_irq *irq)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(irq->used); i++) {
		unsigned int bit;

		if (irq->used[i] == ~0ULL)
			continue;
		bit = (unsigned int)__builtin_ctzll(~irq->used[i]);
		irq->used[i] |= 1ULL << bit;
		return (int)(i * 64 + bit);
	}
	return -ENOSPC;
}

static void drop_gsi(struct kvm_irq *irq, struct kvm_irq_routing_entry *entry)
{
	irq->used[entry->gsi / 64] &= ~(1ULL << (entry->gsi % 64));
	*entry = irq->table->entries[--irq->table->nr];
}

static void set_message(struct kvm_irq_routing_entry *entry, uint64_t addr, uint32_t data)
{
	entry->u.msi.address_lo = (uint32_t)addr;
	entry->u.msi.address_hi = (uint32_t)(addr >> 32);
	entry->u.msi.data = data;
}

static int route_new(struct kvm_irq *irq, uint64_t addr, uint32_t data)
{
	struct kvm_irq_routing_entry *entry;
	int ret, gsi;

	ret = reserve(irq, irq->table->nr + 1);
	if (ret < 0)
		return ret;
	gsi = take_gsi(irq);
	if (gsi < 0)
		return gsi;
	entry = &irq->table->entries[irq->table->nr++];
	*entry = (struct kvm_irq_routing_entry){.gsi = (uint32_t)gsi, .type = KVM_IRQ_ROUTING_MSI};
	set_message(entry, addr, data);
	ret = commit(irq);
	if (ret < 0) {
		drop_gsi(irq, entry);
		return ret;
	}
	return gsi;
}

static int route_change(struct kvm_irq *irq, int gsi, uint64_t addr, uint32_t data)
{
	struct kvm_irq_routing_entry *entry = find_msi(irq, (uint32_t)gsi), old;
	int ret;

	if (!entry)
		return -ENOENT;
	old = *entry;
	set_message(entry, addr, data);
	if (!memcmp(&old, entry, sizeof(old)))
		return gsi;
	ret = commit(irq);
	if (ret < 0) {
		*entry = old;
		return ret;
	}
	return gsi;
}

int kvm_irq_route_msi(struct kvm_irq *irq, int gsi, uint64_t addr, uint32_t data)
{
	int ret;

	pthread_mutex_lock(&irq->lock);
	ret = gsi < 0 ? route_new(irq, addr, data) : route_change(irq, gsi, addr, data);
	pthread_mutex_unlock(&irq->lock);
	return ret;
}

void kvm_irq_free_msi(struct kvm_irq *irq, int gsi)
{
	struct kvm_irq_routing_entry *entry;

	pthread_mutex_lock(&irq->lock);
	entry = gsi < 0 ? NULL : find_msi(irq, (uint32_t)gsi);
	if (entry) {
		drop_gsi(irq, entry);
		/* A shorter table cannot be refused for its content; were it for want of memory,
		 * the stale route would be unused. */
		(void)commit(irq);
	}
	pthread_mutex_unlock(&irq->lock);
}

int kvm_irq_attach_fd(struct kvm_irq *irq, int gsi, int fd, int resample_fd)
{
	struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = (uint32_t)gsi};

	if (resample_fd >= 0) {
		irqfd.flags = KVM_IRQFD_FLAG_RESAMPLE;
		irqfd.resamplefd = (uint32_t)resample_fd;
	}
	return ioctl(irq->vm_fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

int kvm_irq_detach_fd(struct kvm_irq *irq, int gsi, int fd)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd, .gsi = (uint32_t)gsi, .flags = KVM_IRQFD_FLAG_DEASSIGN};

	return ioctl(irq->vm_fd, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}

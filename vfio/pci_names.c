#include "vfio/pci_names.h"

#include <pci/pci.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "vfio/sysfs.h"

/* libpci wants a last word when memory runs out, and would end the process: we jump back instead. */
struct pci_names {
	struct pci_access *access;
	bool failed; /* nothing is asked of it any more */
};

#define LOOKUP_FLAGS (PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB)

static _Thread_local jmp_buf way_back;

static void __attribute__((noreturn)) on_error(char *message, ...)
{
	longjmp(way_back, 1);
}

static void on_remark(char *message, ...)
{
}

struct pci_names *pci_names_open(const char *path)
{
	struct pci_names *names = calloc(1, sizeof(*names));
	char *copy = path ? strdup(path) : NULL;

	if (!names || (path && !copy))
		goto err_free;
	/* Not initialized, on purpose: that would look for a way to devices. */
	names->access = pci_alloc();
	if (!names->access)
		goto err_free;
	names->access->error = on_error;
	names->access->warning = on_remark;
	names->access->debug = on_remark;
	if (copy)
		pci_set_name_list_path(names->access, copy, 1);
	return names;

err_free:
	free(copy);
	free(names);
	return NULL;
}

void pci_names_close(struct pci_names *names)
{
	if (!names)
		return;
	pci_free_name_list(names->access);
	pci_cleanup(names->access);
	free(names);
}

static void look_up(struct pci_names *names, char *name, size_t size, int what, int first,
		    int second)
{
	char text[256] = "";

	name[0] = '\0';
	if (names->failed)
		return;
	if (setjmp(way_back)) {
		names->failed = true;
		return;
	}
	if (!pci_lookup_name(names->access, text, sizeof(text), what | LOOKUP_FLAGS, first, second))
		return;
	text[MIN(sizeof(text), size) - 1] = '\0';
	strcpy(name, text);
	sysfs_clean(name);
}

void pci_names_vendor(struct pci_names *names, char *name, size_t size, uint16_t vendor)
{
	look_up(names, name, size, PCI_LOOKUP_VENDOR, vendor, 0);
}

void pci_names_device(struct pci_names *names, char *name, size_t size, uint16_t vendor,
		      uint16_t device)
{
	look_up(names, name, size, PCI_LOOKUP_DEVICE, vendor, device);
}

void pci_names_class(struct pci_names *names, char *name, size_t size, uint32_t class_code)
{
	look_up(names, name, size, PCI_LOOKUP_CLASS, (int)(class_code >> 8 & 0xffff), 0);
}

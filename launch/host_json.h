/* What the host's devices are, as JSON for vmm-mgmt, which may open none of them. One thread. */
#ifndef LAUNCH_HOST_JSON_H
#define LAUNCH_HOST_JSON_H

#include <jansson.h>

#include "vfio/sysfs.h"

/*
 * {"items": [schema PciDevice of mgmt/openapi.yaml, without holder], "truncated": bool}: as many as one
 * message holds. NULL: out of memory.
 */
json_t *host_json_pci(const struct host_roots *roots);
/* The same of schema DoctorCheck: what the host lacks for giving devices to guests. */
json_t *host_json_doctor(const struct host_roots *roots);

#endif

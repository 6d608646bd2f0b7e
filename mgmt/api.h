/* The handlers of the REST interface, as openapi.yaml states it. Main thread only. */
#ifndef MGMT_API_H
#define MGMT_API_H

#include "mgmt/http_request.h"
#include "mgmt/router.h"

extern const struct route api_routes[]; /* ends with method == NULL */

/* api_host.c */
void api_host_get(struct http_request *request);
void api_host_stop_guests(struct http_request *request);

/* api_vm.c */
void api_vms_list(struct http_request *request);
void api_vms_create(struct http_request *request);
void api_vm_get(struct http_request *request);
void api_vm_update(struct http_request *request);
void api_vm_delete(struct http_request *request);
void api_vm_start(struct http_request *request);
void api_vm_stop(struct http_request *request);
void api_vm_shutdown(struct http_request *request);
void api_vm_pause(struct http_request *request);
void api_vm_resume(struct http_request *request);
void api_vm_reset(struct http_request *request);
void api_vm_info(struct http_request *request);
void api_vm_counters(struct http_request *request);
/* The VM the path names; NULL when it was answered already, for there is none. */
struct vm *api_find_vm(struct http_request *request);

/* api_device.c */
void api_nics_list(struct http_request *request);
void api_nics_add(struct http_request *request);
void api_nic_get(struct http_request *request);
void api_nic_remove(struct http_request *request);
void api_disks_list(struct http_request *request);
void api_disks_add(struct http_request *request);
void api_disk_get(struct http_request *request);
void api_disk_remove(struct http_request *request);

/* api_pci.c */
void api_pci_devices_list(struct http_request *request);
void api_sriov_pfs_list(struct http_request *request);
void api_host_doctor(struct http_request *request);

/* api_port.c */
void api_ports_list(struct http_request *request);
void api_ports_add(struct http_request *request);
void api_port_get(struct http_request *request);
void api_port_remove(struct http_request *request);

/* api_switch.c */
void api_switch_get(struct http_request *request);
void api_fdb_list(struct http_request *request);
void api_fdb_flush(struct http_request *request);

/* api_events.c, api_metrics.c */
void api_events_stream(struct http_request *request);
void api_metrics_get(struct http_request *request);

#endif

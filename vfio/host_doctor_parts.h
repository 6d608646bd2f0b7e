/* The checks that have files of their own. */
#ifndef VFIO_HOST_DOCTOR_PARTS_H
#define VFIO_HOST_DOCTOR_PARTS_H

#include "vfio/doctor.h"

/* host_doctor_iommu.c */
void doctor_iommu(struct doctor *doctor);
void doctor_remapping(struct doctor *doctor);
/* host_doctor_pci.c */
void doctor_modules(struct doctor *doctor);
void doctor_functions(struct doctor *doctor);

#endif

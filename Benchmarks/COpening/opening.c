// SPDX-License-Identifier: Apache-2.0
#include "COpening.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi_iommufd.h"
#include "abi_vfio_container.h"

#define TRY(call)                         \
  do {                                    \
    int tried = (call);                   \
    if (tried < 0) return tried;          \
  } while (0)

/// The last component of one of the function's links; 0 or -errno.
static int link_name(const char *address, const char *link, char *name, size_t size) {
  char path[256], target[256];
  snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", address, link);
  ssize_t count = readlink(path, target, sizeof(target) - 1);
  if (count < 0) return -errno;
  target[count] = 0;
  const char *slash = strrchr(target, '/');
  snprintf(name, size, "%s", slash ? slash + 1 : target);
  return 0;
}

static int numa_node(const char *address, int *node) {
  char path[256], text[32] = {0};
  snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/numa_node", address);
  int fd = abi_open(path, O_RDONLY);
  if (fd < 0) return fd;
  int64_t count = abi_read(fd, text, sizeof(text) - 1);
  abi_close(fd);
  *node = atoi(text);
  return count < 0 ? (int)count : 0;
}

static int node_name(const char *address, char *name, size_t size) {
  char path[256];
  snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", address);
  DIR *folder = opendir(path);
  if (!folder) return -errno;
  int result = -ENOENT;
  for (struct dirent *entry; (entry = readdir(folder));)
    if (strncmp(entry->d_name, "vfio", 4) == 0) {
      snprintf(name, size, "/dev/vfio/devices/%s", entry->d_name);
      result = 0;
    }
  closedir(folder);
  return result;
}

/// A call that tells how much room its answer needs is made again with that much.
static int grown(int (*call)(int, uint32_t, void *, uint32_t), int fd, uint32_t index, uint32_t size, void **answer) {
  *answer = NULL;
  for (uint32_t have = 0; have < size;) {
    free(*answer);
    *answer = calloc(1, size);
    if (!*answer) return -ENOMEM;
    TRY(call(fd, index, *answer, size));
    have = size;
    memcpy(&size, *answer, sizeof(size));
  }
  return 0;
}

static int device_info(int fd, uint32_t index, void *answer, uint32_t size) {
  (void)index;
  return abi_vfio_device_get_info(fd, answer, size);
}

static int iommu_info(int fd, uint32_t index, void *answer, uint32_t size) {
  (void)index;
  return abi_vfio_iommu_get_info(fd, answer, size);
}

static int container_ranges(int fd) {
  void *answer;
  TRY(grown(iommu_info, fd, 0, sizeof(struct abi_vfio_iommu_type1_info), &answer));
  free(answer);
  return 0;
}

/// What every opened device reports by: an eventfd each for errors and for the request to let go.
static int arm_events(struct copening *opening) {
  static const uint32_t indexes[2] = {ABI_VFIO_PCI_ERR_IRQ_INDEX, ABI_VFIO_PCI_REQ_IRQ_INDEX};
  for (int event = 0; event < 2; event++) TRY(opening->events[event] = abi_eventfd(0, EFD_NONBLOCK));
  for (int event = 0; event < 2; event++)
    TRY(abi_vfio_device_set_irqs_eventfd(opening->device, ABI_VFIO_IRQ_SET_ACTION_TRIGGER, indexes[event], 0, 1,
                                         &opening->events[event]));
  return 0;
}

/// All facts of the device, then the BAR.
static int first_word(struct copening *opening, uint32_t *word) {
  int fd = opening->device;
  void *answer;
  TRY(grown(device_info, fd, 0, sizeof(struct abi_vfio_device_info), &answer));
  struct abi_vfio_device_info info = *(struct abi_vfio_device_info *)answer;
  free(answer);
  struct abi_vfio_region_info bar = {0};
  for (uint32_t index = 0; index < info.num_regions; index++) {
    int result = grown(abi_vfio_device_get_region_info, fd, index, sizeof(struct abi_vfio_region_info), &answer);
    // A device without VGA has no region of that index.
    if (result < 0 && result != -EINVAL) return result;
    if (index == 0) bar = *(struct abi_vfio_region_info *)answer;
    free(answer);
  }
  for (uint32_t index = 0; index < 3 && index < info.num_irqs; index++) {
    struct abi_vfio_irq_info irq = {.index = index};
    TRY(abi_vfio_device_get_irq_info(fd, &irq));
  }
  TRY(arm_events(opening));
  int64_t address = abi_mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, bar.offset);
  if (address < 0) return (int)address;
  opening->bar = (void *)(intptr_t)address;
  opening->bar_size = bar.size;
  *word = *(volatile uint32_t *)opening->bar;
  return 0;
}

static int ioas_ranges(struct copening *opening) {
  struct abi_iommu_iova_range ranges[16];
  struct abi_iommu_ioas_iova_ranges command = {.ioas_id = opening->ioas};
  return abi_iommu_ioas_iova_ranges(opening->iommufd, &command, ranges, 16);
}

int copening_iommufd(const char *address, struct copening *opening, uint32_t *word) {
  char path[300], driver[64], group[64];
  int node;
  *opening = (struct copening){-1, -1, -1, -1, {-1, -1}, 0, NULL, 0};
  TRY(link_name(address, "driver", driver, sizeof(driver)));
  TRY(link_name(address, "iommu_group", group, sizeof(group)));
  TRY(numa_node(address, &node));
  TRY(node_name(address, path, sizeof(path)));
  TRY(opening->iommufd = abi_open("/dev/iommu", O_RDWR));
  struct abi_iommu_ioas_alloc alloc = {0};
  TRY(abi_iommu_ioas_alloc(opening->iommufd, &alloc));
  opening->ioas = alloc.out_ioas_id;
  TRY(ioas_ranges(opening));
  TRY(opening->device = abi_open(path, O_RDWR));
  struct abi_vfio_device_bind_iommufd bind = {.iommufd = opening->iommufd};
  TRY(abi_vfio_device_bind_iommufd(opening->device, &bind));
  struct abi_vfio_device_attach_iommufd_pt attach = {.pt_id = opening->ioas};
  TRY(abi_vfio_device_attach_iommufd_pt(opening->device, &attach));
  TRY(ioas_ranges(opening));
  return first_word(opening, word);
}

int copening_type1v2(const char *address, struct copening *opening, uint32_t *word) {
  char path[300], driver[64], group[64];
  int node;
  *opening = (struct copening){-1, -1, -1, -1, {-1, -1}, 0, NULL, 0};
  TRY(link_name(address, "driver", driver, sizeof(driver)));
  TRY(link_name(address, "iommu_group", group, sizeof(group)));
  TRY(numa_node(address, &node));
  TRY(node_name(address, path, sizeof(path)));
  TRY(opening->container = abi_open("/dev/vfio/vfio", O_RDWR));
  TRY(abi_vfio_get_api_version(opening->container));
  TRY(abi_vfio_check_extension(opening->container, ABI_VFIO_TYPE1v2_IOMMU));
  snprintf(path, sizeof(path), "/dev/vfio/%s", group);
  TRY(opening->group = abi_open(path, O_RDWR));
  struct abi_vfio_group_status status;
  TRY(abi_vfio_group_get_status(opening->group, &status));
  TRY(abi_vfio_group_set_container(opening->group, opening->container));
  TRY(abi_vfio_set_iommu(opening->container, ABI_VFIO_TYPE1v2_IOMMU));
  TRY(container_ranges(opening->container));
  TRY(opening->device = abi_vfio_group_get_device_fd(opening->group, address));
  return first_word(opening, word);
}

void copening_close(struct copening *opening) {
  if (opening->bar) abi_munmap(opening->bar, opening->bar_size);
  for (int event = 0; event < 2; event++)
    if (opening->events[event] >= 0) abi_close(opening->events[event]);
  if (opening->device >= 0) abi_close(opening->device);
  if (opening->group >= 0) abi_close(opening->group);
  if (opening->container >= 0) abi_close(opening->container);
  if (opening->iommufd >= 0) {
    if (opening->ioas) abi_iommu_destroy(opening->iommufd, opening->ioas);
    abi_close(opening->iommufd);
  }
}

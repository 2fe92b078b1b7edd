// Which memory an address belongs to.
#pragma once
#include <link.h>

#include <algorithm>
#include <vector>

#include "launch.h"

namespace emulator {

struct Range {
    char *begin, *end;
    bool contains(const void* address) const { return address >= begin && address < end; }
};

static std::vector<Region> regions;  // of the launch, by address; they do not overlap
static Range kernel_image, runtime_image;

struct ImageSearch {
    const void* address;
    Range found;
};

// The range of the loaded library that holds `address`.
static Range image_of(const void* address) {
    ImageSearch search = {address, {nullptr, nullptr}};
    dl_iterate_phdr(
        [](dl_phdr_info* library, size_t, void* data) {
            ImageSearch* search = (ImageSearch*)data;
            Range range = {(char*)library->dlpi_addr, (char*)library->dlpi_addr};
            for (int i = 0; i < library->dlpi_phnum; ++i) {
                const ElfW(Phdr)& segment = library->dlpi_phdr[i];
                if (segment.p_type == PT_LOAD)
                    range.end = std::max(range.end, range.begin + segment.p_vaddr + segment.p_memsz);
            }
            if (!range.contains(search->address)) return 0;
            search->found = range;
            return 1;
        },
        &search);
    return search.found;
}

static void map_memory() {
    regions.assign(launch->regions, launch->regions + launch->region_count);
    std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.begin < b.begin; });
    if (!kernel_image.contains(launch->kernel)) kernel_image = image_of(launch->kernel);
    if (!runtime_image.begin) runtime_image = image_of(&threadIdx);
}

static bool holds(const Region& region, const char* address) {
    return address >= region.begin && address < region.begin + region.bytes;
}

// The region's place in `regions`, or -1. An instruction mostly accesses the region that it accessed last.
static int find_region(const char* address, const void* code) {
    static int last[256];
    int& guess = last[((uintptr_t)code >> 2) % 256];
    if (guess < (int)regions.size() && holds(regions[guess], address)) return guess;
    const auto after = std::upper_bound(regions.begin(), regions.end(), address,
                                        [](const char* a, const Region& region) { return a < region.begin; });
    if (after == regions.begin() || !holds(after[-1], address)) return -1;
    return guess = int(after - regions.begin()) - 1;
}

// The region that an address outside all of them is closest to, or null if there is none.
static const Region* nearest_region(const char* address) {
    const Region* nearest = nullptr;
    size_t least = SIZE_MAX;
    for (const Region& region : regions) {
        const char* end = region.begin + region.bytes;
        const size_t distance = address < region.begin ? region.begin - address : address - end;
        if (distance < least) least = distance, nearest = &region;
    }
    return nearest;
}

}  // namespace emulator

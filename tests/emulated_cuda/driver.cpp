// NVIDIA's library of its driver (NVML), at the C interface that pynvml calls: two GPUs that use 300 W and counts its energy in
// steps of a tenth of a second, on which this process alone computes.

#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace {

enum Answer { SUCCESS = 0, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
constexpr double POWER_W = 300, STEP_S = 0.1;
constexpr const char* UUIDS[] = {"GPU-00000000-0000-0000-0000-000000000000", "GPU-00000000-0000-0000-0000-000000000001"};
int handles[2];

double now_s() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <typename T>
Answer say(T* where, T value) {
  *where = value;
  return SUCCESS;
}

struct Process {
  unsigned pid;
  unsigned long long bytes;
  unsigned gpu_instance, compute_instance;
};

}  // namespace

extern "C" {

const char* nvmlErrorString(Answer answer) { return answer == NOT_FOUND ? "Not Found" : "Unknown Error"; }
Answer nvmlInitWithFlags(unsigned) { return SUCCESS; }
Answer nvmlInit_v2() { return SUCCESS; }
Answer nvmlShutdown() { return SUCCESS; }

Answer nvmlSystemGetDriverVersion(char* text, unsigned size) {
  std::snprintf(text, size, "emulated");
  return SUCCESS;
}

Answer nvmlDeviceGetCount_v2(unsigned* count) { return say(count, 2u); }

Answer nvmlDeviceGetHandleByIndex_v2(unsigned index, void** found) {
  return index > 1 ? NOT_FOUND : say(found, static_cast<void*>(&handles[index]));
}

Answer nvmlDeviceGetHandleByUUID(const char* uuid, void** found) {
  for (int i = 0; i < 2; ++i) {
    if (!std::strcmp(uuid, UUIDS[i])) return say(found, static_cast<void*>(&handles[i]));
  }
  return NOT_FOUND;
}

Answer nvmlDeviceGetEnforcedPowerLimit(void*, unsigned* milliwatts) { return say(milliwatts, 700000u); }
Answer nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) { return say(milliwatts, static_cast<unsigned>(1000 * POWER_W)); }

Answer nvmlDeviceGetTotalEnergyConsumption(void*, unsigned long long* millijoules) {
  const auto steps = static_cast<unsigned long long>(now_s() / STEP_S);
  return say(millijoules, static_cast<unsigned long long>(1000 * POWER_W * STEP_S) * steps);
}

Answer nvmlDeviceGetCurrentClocksEventReasons(void*, unsigned long long* reasons) { return say(reasons, 0ull); }
Answer nvmlDeviceGetClockInfo(void*, int, unsigned* megahertz) { return say(megahertz, 1755u); }
Answer nvmlDeviceGetMaxClockInfo(void*, int, unsigned* megahertz) { return say(megahertz, 1980u); }
Answer nvmlDeviceGetTemperature(void*, int, unsigned* celsius) { return say(celsius, 40u); }

Answer nvmlDeviceGetComputeRunningProcesses_v3(void*, unsigned* count, Process* processes) {
  const bool fits = processes && *count >= 1;
  *count = 1;
  if (!fits) return INSUFFICIENT_SIZE;
  processes[0] = {static_cast<unsigned>(getpid()), 1ull << 28, ~0u, ~0u};
  return SUCCESS;
}
}

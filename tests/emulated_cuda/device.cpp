// Two CUDA devices for torch's CPU build, made for tests; with EMULATED_OTHER two of a type that torch has no code for and no
// library of recurrent layers, without float64. The memory of their tensors is the host's: whatever operator is called on them,
// the CPU's kernel computes it, on tensors of the CPU that share the memory. Operands on two devices are refused, as on a GPU.
// What would wait for a GPU, and what would be copied to or from one, is counted.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/RNN.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace emulated {

using at::Tensor;
using at::TensorList;

#ifdef EMULATED_OTHER
constexpr auto TYPE = c10::DeviceType::PrivateUse1;
constexpr auto KEY = c10::DispatchKey::PrivateUse1;
#else
constexpr auto TYPE = c10::DeviceType::CUDA;
constexpr auto KEY = c10::DispatchKey::CUDA;
#endif
constexpr c10::DeviceIndex DEVICES = 2;

// The one that is chosen in this thread.
thread_local c10::DeviceIndex chosen = 0;

c10::Device chosen_device() { return c10::Device(TYPE, chosen); }

c10::DeviceIndex choose(c10::DeviceIndex index) {
  const auto before = chosen;
  if (index >= 0) chosen = index;
  return before;
}

// In the order of COUNTS in device.py.
enum Count {
  SYNCHRONIZATIONS, HOST_READS, COPIES_IN, COPIES_OUT, PAGE_LOCKED, RECURRENT_LAYERS, REPACKED, HELD_BYTES, PEAK_BYTES, KINDS
};
std::array<std::atomic<int64_t>, KINDS> counts{};

void synchronize() { ++counts[SYNCHRONIZATIONS]; }

// ---------------------------------------------------------------------------------------------------- page-locked memory

// Where it begins and ends; kept for good, as some may be freed at the end of the process.
auto& locked = *new std::map<uintptr_t, uintptr_t>;
auto& locked_guard = *new std::mutex;

bool is_locked(const void* data) {
  const std::lock_guard<std::mutex> guard(locked_guard);
  const auto at = reinterpret_cast<uintptr_t>(data);
  const auto after = locked.upper_bound(at);
  return after != locked.begin() && at < std::prev(after)->second;
}

void unlock(void* memory) {
  const std::unique_ptr<c10::DataPtr> held(static_cast<c10::DataPtr*>(memory));
  const std::lock_guard<std::mutex> guard(locked_guard);
  locked.erase(reinterpret_cast<uintptr_t>(held->get()));
}

struct LockedMemory final : at::HostAllocator {
  at::DataPtr allocate(size_t bytes) override {
    auto memory = std::make_unique<c10::DataPtr>(c10::GetCPUAllocator()->allocate(bytes));
    void* data = memory->get();
    const std::lock_guard<std::mutex> guard(locked_guard);
    locked[reinterpret_cast<uintptr_t>(data)] = reinterpret_cast<uintptr_t>(data) + bytes;
    return {data, memory.release(), &unlock, c10::Device(at::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
  bool record_event(void*, void*, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
};

LockedMemory locked_memory;

// ------------------------------------------------------------------------------------------------- what torch asks a device

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return TYPE; }
  c10::DeviceIndex deviceCount() const noexcept override { return DEVICES; }
  c10::Device getDevice() const override { return chosen_device(); }
  c10::Device exchangeDevice(c10::Device device) const override { return c10::Device(TYPE, choose(device.index())); }
  void setDevice(c10::Device device) const override { choose(device.index()); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { choose(device.index()); }
  // One stream for all: what is asked for is done when the call returns.
  c10::Stream getDefaultStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device.has_index() ? device : chosen_device());
  }
  c10::Stream getStream(c10::Device device) const override { return getDefaultStream(device); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return getDefaultStream(device); }
  c10::Stream getNewStream(c10::Device device, int) const override { return getDefaultStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return getDefaultStream(stream.device()); }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { synchronize(); }
  void synchronizeDevice(const c10::DeviceIndex) const override { synchronize(); }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override { synchronize(); }
};

#ifdef EMULATED_OTHER
struct Hooks final : at::PrivateUse1HooksInterface {
#else
struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  bool hasCUDA() const override { return true; }
  bool hasCuDNN() const override { return true; }
  bool compiledWithCuDNN() const override { return true; }
  bool supportsBFloat16RNNWithCuDNN() const override { return true; }
  long versionCuDNN() const override { return 90000; }
  long versionRuntimeCuDNN() const override { return 90000; }
  int getNumGPUs() const override { return DEVICES; }
  c10::DeviceIndex current_device() const override { return chosen; }
  c10::Allocator* getCUDADeviceAllocator() const override { return c10::GetCPUAllocator(); }
  void deviceSynchronize(c10::DeviceIndex) const override { synchronize(); }
#endif
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return DEVICES; }
  c10::DeviceIndex getCurrentDevice() const override { return chosen; }
  void setCurrentDevice(c10::DeviceIndex index) const override { choose(index); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex index) const override { return choose(index); }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex index) const override { return choose(index); }
  bool isPinnedPtr(const void* data) const override { return is_locked(data); }
  c10::Allocator* getPinnedMemoryAllocator() const override { return &locked_memory; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return at::detail::getDefaultCPUGenerator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::make_generator<at::CPUGeneratorImpl>(); }
};

// ------------------------------------------------------------------------------------------------ one memory, two tensors

struct Share {
  c10::Storage storage;
  int64_t bytes;
};

void end_share(void* share) {
  counts[HELD_BYTES] -= static_cast<Share*>(share)->bytes;
  delete static_cast<Share*>(share);
}

// A pointer to the memory of a storage, which it keeps alive; what the device is asked for counts as memory of the device.
c10::DataPtr shared(const c10::Storage& storage, c10::Device device) {
  const int64_t bytes = device.type() == TYPE ? static_cast<int64_t>(storage.nbytes()) : 0;
  const int64_t held = counts[HELD_BYTES] += bytes;
  for (int64_t peak = counts[PEAK_BYTES]; peak < held && !counts[PEAK_BYTES].compare_exchange_weak(peak, held);) {}
  return {storage.mutable_data(), new Share{storage, bytes}, &end_share, device};
}

Tensor twin(const Tensor& of, c10::Device device) {
  c10::Storage storage(
      c10::Storage::use_byte_size_t(), of.storage().nbytes(), shared(of.storage(), device), c10::GetCPUAllocator(), true);
  const c10::DispatchKeySet keys(device.type() == TYPE ? KEY : c10::DispatchKey::CPU);
  auto made = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), keys, of.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(of.sizes(), of.strides(), of.storage_offset());
  return made;
}

Tensor on_host(const Tensor& of) { return of.defined() ? twin(of, at::kCPU) : of; }
Tensor on_host(const std::optional<Tensor>& of) { return of.has_value() ? on_host(*of) : Tensor(); }
Tensor on_device(const Tensor& of, c10::Device device = chosen_device()) {
  if (!of.defined()) return of;
#ifdef EMULATED_OTHER
  TORCH_CHECK_TYPE(of.scalar_type() != at::kDouble, "this device has no float64");
#endif
  return twin(of, device);
}

// A tensor of the same storage with sizes and strides of another: what a view is.
Tensor view_of(const Tensor& base, const Tensor& like) {
  auto made = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(base.storage()), base.key_set(), like.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  return made;
}

// ------------------------------------------------------------------------------------------- any operator, by the CPU's kernel

const std::set<std::string> TAKES_TWO_DEVICES = {
    "aten::copy_", "aten::index.Tensor", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_"};
// The host must know of their result how large it is, or what it says.
const std::set<std::string> READ_BY_HOST = {
    "aten::_local_scalar_dense", "aten::equal", "aten::is_nonzero", "aten::masked_select", "aten::nonzero", "aten::_unique2"};

class Call {
 public:
  Call(const c10::OperatorHandle& op, torch::jit::Stack* stack) : op_(op), stack_(stack), name_(toString(op.operator_name())) {}

  void run() {
    const auto& arguments = op_.schema().arguments();
    const size_t first = stack_->size() - arguments.size();
    for (size_t i = 0; i < arguments.size(); ++i) take((*stack_)[first + i]);
    require_one_device();
    count();
    op_.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack_);
    for (const auto& pair : pairs_) keep(pair);
    for (size_t i = stack_->size() - op_.schema().returns().size(); i < stack_->size(); ++i) give((*stack_)[i]);
  }

 private:
  struct Pair {
    Tensor device, host;
  };

  void take(c10::IValue& value) {
    if (value.isTensor()) {
      value = taken(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) list.push_back(taken(tensor));
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> list;
      for (const std::optional<Tensor>& tensor : value.toOptionalTensorVector()) {
        list.push_back(tensor.has_value() ? std::optional<Tensor>(taken(*tensor)) : std::nullopt);
      }
      value = list;
    } else if (value.isDevice()) {
      for_host_ = value.toDevice().is_cpu();
      if (value.toDevice().type() == TYPE && value.toDevice().has_index()) asked_ = value.toDevice();
      value = c10::Device(at::kCPU);
    }
  }

  Tensor taken(const Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    if (tensor.device().type() != TYPE) {
      on_host_.push_back(tensor);
      return tensor;
    }
    pairs_.push_back({tensor, on_host(tensor)});
    return pairs_.back().host;
  }

  // Tensors of the host that are no single number.
  int64_t host_operands() const {
    return std::count_if(on_host_.begin(), on_host_.end(), [](const Tensor& tensor) { return tensor.dim() > 0; });
  }

  void require_one_device() const {
    TORCH_CHECK(
        pairs_.empty() || host_operands() == 0 || TAKES_TWO_DEVICES.count(name_),
        "Expected all tensors to be on the same device, but found at least two devices, ", device(), " and cpu! (", name_, ")");
    for (const auto& pair : pairs_) {
      TORCH_CHECK(
          pair.device.device() == device() || name_ == "aten::copy_",
          "Expected all tensors to be on the same device, but found at least two devices, ", device(), " and ",
          pair.device.device(), "! (", name_, ")");
    }
  }

  // Of what a call makes: the one that it asks for, or that of its operands.
  c10::Device device() const { return pairs_.empty() ? chosen_device() : pairs_.front().device.device(); }

  void count() const {
    if (name_ == "aten::copy_") {
      // One of the two is the host's, or none: then it stays on the device.
      if (on_host_.empty()) return;
      ++counts[is_into_device() ? COPIES_IN : COPIES_OUT];
      counts[PAGE_LOCKED] += is_locked(on_host_.front().const_data_ptr());
      return;
    }
    counts[COPIES_IN] += host_operands();
    const bool by_mask = name_ == "aten::index.Tensor" &&
        std::any_of(pairs_.begin() + 1, pairs_.end(), [](const Pair& pair) { return pair.host.scalar_type() == at::kBool; });
    if (by_mask || READ_BY_HOST.count(name_)) ++counts[HOST_READS];
  }

  // Of a copy the first operand is what is written.
  bool is_into_device() const {
    return (*stack_)[stack_->size() - op_.schema().arguments().size()].toTensor().is_same(pairs_.front().host);
  }

  // What became of the host's tensor, resized or grown, becomes of the device's.
  static void keep(const Pair& pair) {
    const auto& held = pair.host.storage();
    if (held.data() != pair.device.storage().data()) {
      pair.device.storage().set_nbytes(held.nbytes());
      pair.device.storage().set_data_ptr_noswap(shared(held, pair.device.device()));
    }
    if (pair.host.sizes() != pair.device.sizes() || pair.host.strides() != pair.device.strides() ||
        pair.host.storage_offset() != pair.device.storage_offset()) {
      pair.device.unsafeGetTensorImpl()->set_sizes_and_strides(
          pair.host.sizes(), pair.host.strides(), pair.host.storage_offset());
    }
  }

  void give(c10::IValue& value) const {
    if (value.isTensor()) {
      value = given(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> list;
      for (const Tensor& tensor : value.toTensorVector()) list.push_back(given(tensor));
      value = list;
    }
  }

  Tensor given(const Tensor& tensor) const {
    if (!tensor.defined() || !tensor.device().is_cpu()) return tensor;
    for (const auto& pair : pairs_) {
      if (tensor.is_same(pair.host)) return pair.device;
      if (tensor.storage().unsafeGetStorageImpl() == pair.host.storage().unsafeGetStorageImpl()) return view_of(pair.device, tensor);
    }
    const bool was_given = std::any_of(on_host_.begin(), on_host_.end(), [&](const Tensor& one) { return tensor.is_same(one); });
    return was_given || for_host_ ? tensor : on_device(tensor, asked_.value_or(device()));
  }

  const c10::OperatorHandle& op_;
  torch::jit::Stack* stack_;
  const std::string name_;
  std::vector<Pair> pairs_;
  std::vector<Tensor> on_host_;
  bool for_host_ = false;
  std::optional<c10::Device> asked_;
};

void by_cpu_kernel(const c10::OperatorHandle& op, torch::jit::Stack* stack) { Call(op, stack).run(); }

#ifndef EMULATED_OTHER
// ----------------------------------------------------------------------------------- recurrent layers in the place of cuDNN's

enum Mode { RELU, TANH, LSTM, GRU };  // cuDNN's numbers

// Without oneDNN, whose name a profile would show in the place of cuDNN's.
struct WithoutOneDnn {
  WithoutOneDnn() : before(at::globalContext().userEnabledMkldnn()) { at::globalContext().setUserEnabledMkldnn(false); }
  ~WithoutOneDnn() { at::globalContext().setUserEnabledMkldnn(before); }
  const bool before;
};

// Random numbers from a seed, so that the backward pass, which computes the forward pass again, drops the same values out.
struct Seeded {
  explicit Seeded(int64_t seed) : generator(at::detail::getDefaultCPUGenerator()), before(generator.get_state()) {
    generator.set_current_seed(static_cast<uint64_t>(seed));
  }
  ~Seeded() { generator.set_state(before); }
  at::Generator generator;
  Tensor before;
};

struct Layers {
  int64_t mode, count;
  bool biases, batch_first, train, bidirectional;
  double dropout;

  std::tuple<Tensor, Tensor, Tensor> run(const Tensor& x, const Tensor& h, const Tensor& c, TensorList weights, int64_t seed) const {
    const WithoutOneDnn guard;
    const Seeded masks(seed);
    if (mode == GRU) {
      auto [y, last] = at::gru(x, h, weights, biases, count, dropout, train, bidirectional, batch_first);
      return {y, last, Tensor()};
    }
    TORCH_CHECK(mode == LSTM, "only GRU and LSTM are emulated");
    return at::lstm(x, {h, c}, weights, biases, count, dropout, train, bidirectional, batch_first);
  }
};

std::vector<Tensor> on_host(TensorList tensors) {
  std::vector<Tensor> made;
  for (const Tensor& tensor : tensors) made.push_back(on_host(tensor));
  return made;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> cudnn_rnn(
    const Tensor& input, TensorList weight, int64_t weight_stride0, const std::optional<Tensor>& weight_buf, const Tensor& hx,
    const std::optional<Tensor>& cx, int64_t mode, c10::SymInt, c10::SymInt, int64_t num_layers, bool batch_first, double dropout,
    bool train, bool bidirectional, c10::SymIntArrayRef, const std::optional<Tensor>&) {
  const c10::DeviceGuard there(input.device());
  ++counts[RECURRENT_LAYERS];
  at::native::check_attributes(input, weight, {hx, cx.value_or(Tensor())}, true);
  if (!weight_buf.has_value() || !weight_buf->defined()) {
    ++counts[REPACKED];
    TORCH_WARN(
        "RNN module weights are not part of single contiguous chunk of memory. This means they need to be compacted at every "
        "call, possibly greatly increasing memory usage. To compact weights again call flatten_parameters().");
  }
  const at::AutoDispatchBelowADInplaceOrView below;
  const Layers layers{mode, num_layers, weight_stride0 == 4, batch_first, train, bidirectional, dropout};
  const int64_t seed = train && dropout > 0 ? at::randint(int64_t{1} << 40, {1}, at::kLong).item<int64_t>() : 0;
  const auto weights = on_host(weight);
  auto [y, h, c] = layers.run(on_host(input), on_host(hx), on_host(cx), weights, seed);
  // What cuDNN keeps for the backward pass.
  const auto reserve = at::full({train ? 1 : 0}, seed, at::kLong);
  const auto cells = c.defined() ? on_device(c.contiguous()) : at::empty({0}, hx.options());
  const auto packed = weight_buf.has_value() && weight_buf->defined() ? *weight_buf : at::empty({0}, weight[0].options());
  return {on_device(y.contiguous()), on_device(h.contiguous()), cells, on_device(reserve), packed};
}

std::tuple<Tensor, Tensor, Tensor, std::vector<Tensor>> cudnn_rnn_backward(
    const Tensor& input, TensorList weight, int64_t weight_stride0, const Tensor&, const Tensor& hx, const std::optional<Tensor>& cx,
    const Tensor&, const std::optional<Tensor>& grad_output, const std::optional<Tensor>& grad_hy,
    const std::optional<Tensor>& grad_cy, int64_t mode, c10::SymInt, c10::SymInt, int64_t num_layers, bool batch_first,
    double dropout, bool train, bool bidirectional, c10::SymIntArrayRef, const std::optional<Tensor>&, const Tensor& reserve,
    std::array<bool, 4>) {
  TORCH_CHECK(train, "cudnn RNN backward can only be called in training mode");
  const c10::DeviceGuard there(input.device());
  // The CPU's layers know their gradients by autograd, which is left out below it.
  const c10::impl::ForceDispatchKeyGuard above(c10::default_included_set, c10::default_excluded_set);
  const at::AutoGradMode enabled(true);
  std::vector<Tensor> leaves;
  auto leaf = [&](const Tensor& tensor) {
    if (tensor.defined()) leaves.push_back(on_host(tensor).set_requires_grad(true));
    return tensor.defined() ? leaves.back() : tensor;
  };
  const auto x = leaf(input), h = leaf(hx), c = leaf(mode == LSTM ? cx.value_or(Tensor()) : Tensor());
  std::vector<Tensor> weights;
  for (const Tensor& tensor : weight) weights.push_back(leaf(tensor));
  const Layers layers{mode, num_layers, weight_stride0 == 4, batch_first, train, bidirectional, dropout};
  const auto [y, last, cells] = layers.run(x, h, c, weights, *static_cast<const int64_t*>(reserve.const_data_ptr()));
  std::vector<Tensor> outputs, gradients;
  auto add = [&](const Tensor& output, const std::optional<Tensor>& gradient) {
    if (!gradient.has_value() || !gradient->defined()) return;
    outputs.push_back(output);
    gradients.push_back(on_host(*gradient));
  };
  add(y, grad_output);
  add(last, grad_hy);
  if (cells.defined()) add(cells, grad_cy);
  auto found = torch::autograd::grad(outputs, leaves, gradients, std::nullopt, false, true);
  for (size_t i = 0; i < found.size(); ++i) {
    found[i] = on_device(found[i].defined() ? found[i].contiguous() : at::zeros_like(leaves[i]));
  }
  auto next = found.begin();
  const auto of_input = *next++, of_state = *next++, of_cells = c.defined() ? *next++ : Tensor();
  return {of_input, of_state, of_cells, std::vector<Tensor>(next, found.end())};
}

// One piece of memory for all weights, in which they lie from now on.
Tensor flatten(
    TensorList weights, int64_t, c10::SymInt, int64_t, c10::SymInt, c10::SymInt, int64_t, bool, bool) {
  std::vector<Tensor> pieces;
  for (const Tensor& weight : weights) pieces.push_back(on_host(weight).reshape({-1}));
  const auto packed = on_device(at::cat(pieces), weights[0].device());
  int64_t offset = 0;
  for (const Tensor& weight : weights) {
    auto* impl = weight.unsafeGetTensorImpl();
    const auto sizes = weight.sizes().vec();
    const auto strides = on_host(weight).contiguous().strides().vec();
    impl->set_storage_keep_dtype(packed.storage());
    impl->set_sizes_and_strides(sizes, strides, offset);
    offset += weight.numel();
  }
  return packed;
}

// The piece of memory in which all weights lie one after another, as cuDNN wants them; undefined where they do not.
Tensor packed_weights(TensorList weights) {
  int64_t count = 0;
  for (const Tensor& weight : weights) {
    const bool follows = weight.storage().data() == weights[0].storage().data() && weight.storage_offset() == count;
    if (!follows || !weight.is_contiguous()) return {};
    count += weight.numel();
  }
  auto all = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(weights[0].storage()), c10::DispatchKeySet(KEY), weights[0].dtype());
  all.unsafeGetTensorImpl()->set_sizes_contiguous({count});
  return all;
}

auto layers_of(
    int64_t mode, const Tensor& x, const Tensor& h, const Tensor& c, TensorList weights, bool biases, int64_t count,
    double dropout, bool train, bool bidirectional, bool batch_first) {
  return at::_cudnn_rnn(
      x, weights, biases ? 4 : 2, packed_weights(weights), h, c.defined() ? std::optional<Tensor>(c) : std::nullopt, mode,
      h.size(2), 0, count, batch_first, dropout, train, bidirectional, {}, std::nullopt);
}

void gru_layers(
    Tensor& y, Tensor& last, const Tensor& x, const Tensor& h, TensorList weights, bool biases, int64_t count, double dropout,
    bool train, bool bidirectional, bool batch_first) {
  std::tie(y, last, std::ignore, std::ignore, std::ignore) =
      layers_of(GRU, x, h, Tensor(), weights, biases, count, dropout, train, bidirectional, batch_first);
}

void lstm_layers(
    Tensor& y, Tensor& last, Tensor& cells, const Tensor& x, TensorList states, TensorList weights, bool biases, int64_t count,
    double dropout, bool train, bool bidirectional, bool batch_first) {
  std::tie(y, last, cells, std::ignore, std::ignore) =
      layers_of(LSTM, x, states[0], states[1], weights, biases, count, dropout, train, bidirectional, batch_first);
}

#endif  // EMULATED_OTHER

// The cells of torch's own loop over hours, which a GPU runs where cuDNN is off and the CPU has none of.
std::vector<Tensor> gates_of(const Tensor& products, const std::optional<Tensor>& bias, int64_t count) {
  return (bias.has_value() && bias->defined() ? products + *bias : products).chunk(count, 1);
}

std::tuple<Tensor, Tensor> gru_cell(
    const Tensor& from_below, const Tensor& from_before, const Tensor& h, const std::optional<Tensor>& bias_below,
    const std::optional<Tensor>& bias_before) {
  const auto below = gates_of(from_below, bias_below, 3), before = gates_of(from_before, bias_before, 3);
  const auto candidate = (below[2] + (below[0] + before[0]).sigmoid() * before[2]).tanh();
  return {candidate + (below[1] + before[1]).sigmoid() * (h - candidate), at::empty({0}, h.options())};
}

std::tuple<Tensor, Tensor, Tensor> lstm_cell(
    const Tensor& from_below, const Tensor& from_before, const Tensor& c, const std::optional<Tensor>& bias_below,
    const std::optional<Tensor>& bias_before) {
  const auto below = gates_of(from_below, bias_below, 4), before = gates_of(from_before, bias_before, 4);
  const auto cells = (below[1] + before[1]).sigmoid() * c + (below[0] + before[0]).sigmoid() * (below[2] + before[2]).tanh();
  return {(below[3] + before[3]).sigmoid() * cells.tanh(), cells, at::empty({0}, c.options())};
}

}  // namespace emulated

namespace c10::impl {
using EmulatedGuard = emulated::Guard;
#ifdef EMULATED_OTHER
C10_REGISTER_GUARD_IMPL(PrivateUse1, EmulatedGuard)
#else
C10_REGISTER_GUARD_IMPL(CUDA, EmulatedGuard)
#endif
}  // namespace c10::impl

#ifdef EMULATED_OTHER

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("_thnn_fused_gru_cell", &emulated::gru_cell);
  library.impl("_thnn_fused_lstm_cell", &emulated::lstm_cell);
}

// Made of operators that know their gradients.
TORCH_LIBRARY_IMPL(aten, AutogradPrivateUse1, library) {
  library.impl("_thnn_fused_gru_cell", &emulated::gru_cell);
  library.impl("_thnn_fused_lstm_cell", &emulated::lstm_cell);
}

#else

namespace at {
using EmulatedHooks = emulated::Hooks;
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, EmulatedHooks)
}  // namespace at

namespace at::native {
REGISTER_CUDA_DISPATCH(gru_cudnn_stub, &emulated::gru_layers)
REGISTER_CUDA_DISPATCH(lstm_cudnn_stub, &emulated::lstm_layers)
}  // namespace at::native

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("_cudnn_rnn", &emulated::cudnn_rnn);
  library.impl("_cudnn_rnn_backward", &emulated::cudnn_rnn_backward);
  library.impl("_cudnn_rnn_flatten_weight", &emulated::flatten);
  library.impl("_thnn_fused_gru_cell", &emulated::gru_cell);
  library.impl("_thnn_fused_lstm_cell", &emulated::lstm_cell);
}

#endif  // EMULATED_OTHER

extern "C" {

// Give every operator that has a kernel for the CPU one for the device; returns how many there are.
int64_t emulated_start() {
  at::setHostAllocator(emulated::TYPE, &emulated::locked_memory);
  // Kept for good: at the end of the process torch may be gone before it.
  static auto* kept = new std::vector<c10::RegistrationHandleRAII>();
#ifdef EMULATED_OTHER
  at::RegisterPrivateUse1HooksInterface(new emulated::Hooks());
#endif
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& name : dispatcher.getAllOpNames()) {
    const auto op = dispatcher.findOp(name);
    if (!op.has_value() || name.name.rfind("aten::", 0) != 0 || op->hasKernelForDispatchKey(emulated::KEY)) continue;
    // The copy decides by itself who computes it.
    if (!op->hasKernelForDispatchKey(c10::DispatchKey::CPU) && name.name != "aten::copy_") continue;
    kept->push_back(dispatcher.registerImpl(
        name, emulated::KEY, c10::KernelFunction::makeFromBoxedFunction<&emulated::by_cpu_kernel>(), std::nullopt,
        nullptr, "emulated device"));
  }
  return static_cast<int64_t>(kept->size());
}

void emulated_synchronize() { emulated::synchronize(); }
int64_t emulated_count(int64_t kind) { return emulated::counts.at(kind); }
void emulated_forget_peak() { emulated::counts[emulated::PEAK_BYTES] = emulated::counts[emulated::HELD_BYTES].load(); }
}

"""The names of CuPy 14.2, as far as the stand-in knows them: which functions there are, and what each one takes.

Taken from `dir(cupy)`, `dir(cupy.ndarray)` and the functions' signatures. What NumPy has and CuPy lacks, a parameter
included, is not here, and so is refused without a GPU as it would be with one.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(text: str) -> dict[str, tuple[str, ...]]:
    rows = (line.partition(":") for line in text.strip().splitlines())
    return {name.strip(): tuple(parameters.split()) for name, _, parameters in rows}


UFUNCS = _words("""
    abs absolute acos acosh add arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh
    bitwise_and bitwise_count bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift
    bitwise_xor cbrt ceil conj conjugate copysign cos cosh deg2rad degrees divide divmod equal exp exp2 expm1
    fabs float_power floor floor_divide fmax fmin fmod frexp gcd greater greater_equal heaviside hypot invert
    isfinite isinf isnan lcm ldexp left_shift less less_equal log log10 log1p log2 logaddexp logaddexp2
    logical_and logical_not logical_or logical_xor maximum minimum mod modf multiply negative nextafter
    not_equal positive pow power rad2deg radians reciprocal remainder right_shift rint sign signbit sin sinh
    sqrt square subtract tan tanh true_divide trunc
""")
"""Element by element; each takes the keywords `UFUNC_PARAMETERS`."""

UFUNC_PARAMETERS = ("out", "dtype", "casting")

FUNCTIONS = _table("""
    all: a axis out keepdims
    allclose: a b rtol atol equal_nan
    amax: a axis out keepdims
    amin: a axis out keepdims
    angle: z deg
    any: a axis out keepdims
    append: arr values axis
    arange: start stop step dtype
    argmax: a axis dtype out keepdims
    argmin: a axis dtype out keepdims
    argpartition: a kth axis
    argsort: a axis kind
    argwhere: a
    around: a decimals out
    array: obj dtype copy order subok ndmin blocking
    array_equal: a1 a2 equal_nan
    array_equiv: a1 a2
    array_split: ary indices_or_sections axis
    asarray: a dtype order copy blocking
    ascontiguousarray: a dtype
    asfortranarray: a dtype
    astype: x dtype copy
    atleast_1d: arys
    atleast_2d: arys
    atleast_3d: arys
    average: a axis weights returned keepdims
    bincount: x weights minlength
    broadcast_arrays: args
    broadcast_shapes: args
    broadcast_to: array shape
    can_cast: from_ to casting
    clip: a a_min a_max out
    column_stack: tup
    compress: condition a axis out
    concat: tup axis out dtype casting
    concatenate: tup axis out dtype casting
    copy: a order
    copyto: dst src casting where
    count_nonzero: a axis
    cross: a b axisa axisb axisc axis
    cumprod: a axis dtype out
    cumsum: a axis dtype out
    cumulative_prod: x axis dtype out include_initial
    cumulative_sum: x axis dtype out include_initial
    delete: arr indices axis
    diag: v k
    diagflat: v k
    diagonal: a offset axis1 axis2
    diff: a n axis prepend append
    digitize: x bins right
    dot: a b out
    dsplit: ary indices_or_sections
    dstack: tup
    ediff1d: arr to_end to_begin
    einsum: operands dtype optimize
    empty: shape dtype order
    empty_like: prototype dtype order subok shape
    expand_dims: a axis
    extract: condition a
    eye: N M k dtype order
    fill_diagonal: a val wrap
    flatnonzero: a
    flip: a axis
    fliplr: a
    flipud: a
    full: shape fill_value dtype order
    full_like: a fill_value dtype order subok shape
    gradient: f varargs axis edge_order
    histogram: x bins range density weights
    hsplit: ary indices_or_sections
    hstack: tup dtype casting
    identity: n dtype
    imag: val
    inner: a b
    interp: x xp fp left right period
    intersect1d: arr1 arr2 assume_unique return_indices
    isclose: a b rtol atol equal_nan
    iscomplex: x
    iscomplexobj: x
    isdtype: dtype kind
    isfortran: a
    isin: element test_elements assume_unique invert
    isneginf: x out
    isposinf: x out
    isreal: x
    isrealobj: x
    isscalar: element
    issubdtype: arg1 arg2
    kron: a b
    lexsort: keys
    linspace: start stop num endpoint retstep dtype axis
    logspace: start stop num endpoint base dtype axis
    matmul: args axes axis keepdims casting dtype signature order out
    matrix_transpose: x
    max: a axis out keepdims
    may_share_memory: a b max_work
    mean: a axis dtype out keepdims
    median: a axis out overwrite_input keepdims
    meshgrid: xi indexing sparse copy
    min: a axis out keepdims
    moveaxis: a source destination
    nan_to_num: x copy nan posinf neginf
    nanargmax: a axis dtype out keepdims
    nanargmin: a axis dtype out keepdims
    nancumprod: a axis dtype out
    nancumsum: a axis dtype out
    nanmax: a axis out keepdims
    nanmean: a axis dtype out keepdims
    nanmedian: a axis out overwrite_input keepdims
    nanmin: a axis out keepdims
    nanprod: a axis dtype out keepdims
    nanstd: a axis dtype out ddof keepdims
    nansum: a axis dtype out keepdims
    nanvar: a axis dtype out ddof keepdims
    ndim: a
    nonzero: a
    ones: shape dtype order
    ones_like: a dtype order subok shape
    outer: a b out
    pad: array pad_width mode constant_values end_values stat_length reflect_type
    partition: a kth axis
    percentile: a q axis out overwrite_input method keepdims interpolation
    permute_dims: a axes
    prod: a axis dtype out keepdims
    promote_types: type1 type2
    ptp: a axis out keepdims
    put: a ind v mode
    putmask: a mask values
    quantile: a q axis out overwrite_input method keepdims interpolation
    ravel: a order
    real: val
    repeat: a repeats axis
    reshape: a newshape order copy
    result_type: arrays_and_dtypes
    roll: a shift axis
    rollaxis: a axis start
    rot90: a k axes
    round: a decimals out
    row_stack: tup dtype casting
    searchsorted: a v side sorter
    setdiff1d: ar1 ar2 assume_unique
    setxor1d: ar1 ar2 assume_unique
    shape: a
    shares_memory: a b max_work
    sort: a axis kind
    split: ary indices_or_sections axis
    squeeze: a axis
    stack: tup axis out dtype casting
    std: a axis dtype out ddof keepdims
    sum: a axis dtype out keepdims
    swapaxes: a axis1 axis2
    take: a indices axis out
    take_along_axis: a indices axis
    tensordot: a b axes
    tile: A reps
    trace: a offset axis1 axis2 dtype out
    transpose: a axes
    trapezoid: y x dx axis
    tri: N M k dtype
    tril: m k
    triu: m k
    union1d: arr1 arr2
    unique: ar return_index return_inverse return_counts axis equal_nan
    unique_all: x
    unique_counts: x
    unique_inverse: x
    unique_values: x
    var: a axis dtype out ddof keepdims
    vdot: a b
    vsplit: ary indices_or_sections
    vstack: tup dtype casting
    where: condition x y
    zeros: shape dtype order
    zeros_like: a dtype order subok shape
    size: a axis
    fix: x out
    sinc: x out
""")
"""The other functions that NumPy has, too, each with the names of its parameters in order."""

TYPES = _words("""
    bool bool_ byte cdouble complex128 complex64 complexfloating csingle double dtype finfo float16 float32
    float64 floating half iinfo inexact int16 int32 int64 int8 int_ intc integer intp long longlong number short
    signedinteger single ubyte uint uint16 uint32 uint64 uint8 uintc uintp ulong ulonglong unsignedinteger
    ushort
""")
"""Types and dtype tools that are NumPy's own objects."""

CONSTANTS = _words("e euler_gamma inf nan pi newaxis")

NOT_MODELLED = _words("""
    AxisError ComplexWarning DataSource ElementwiseKernel Inf Infinity ModuleDeprecationWarning NAN NINF NZERO
    NaN PINF PZERO RankWarning ReductionKernel TooHardError VisibleDeprecationWarning alltrue apply_along_axis
    apply_over_axes array2string array_repr array_str asanyarray asarray_chkfinite asfarray bartlett base_repr
    binary_repr blackman broadcast byte_bounds c_ cfloat choose clear_memo common_type complex_ convolve
    corrcoef correlate cov cumproduct diag_indices diag_indices_from disable_experimental_feature_warning disp
    exceptions fft find_common_type flatiter float_ format_float_positional format_float_scientific
    format_parser fromDlpack from_dlpack frombuffer fromfile fromfunction fromiter fromstring fuse generic
    genfromtxt get_array_wrap get_default_pinned_memory_pool get_printoptions hamming hanning histogram2d
    histogramdd i0 in1d index_exp indices infty issctype issubclass_ issubsctype iterable ix_ kaiser linalg load
    loadtxt make_aligned_dtype mask_indices memoize mgrid min_scalar_type mintypecode msort ndindex obj2sctype
    ogrid packbits piecewise place poly poly1d polyadd polyfit polymul polynomial polysub polyval printoptions
    product put_along_axis r_ random ravel_multi_index real_if_close require resize roots round_ s_ safe_eval
    save savetxt savez savez_compressed sctype2char select set_printoptions set_string_function show_config
    singlecomplex sometrue sort_complex testing trapz tril_indices tril_indices_from trim_zeros triu_indices
    triu_indices_from typename typing ufunc unpackbits unravel_index unwrap vander vectorize who
""")
"""CuPy has these, the stand-in does not."""

METHODS = _table("""
    all: axis out keepdims
    any: axis out keepdims
    argmax: axis out dtype keepdims
    argmin: axis out dtype keepdims
    argsort: axis kind
    astype: dtype order casting subok copy
    clip: min max out
    compress: condition axis out
    conj:
    conjugate:
    copy: order
    cumprod: axis dtype out
    cumsum: axis dtype out
    diagonal: offset axis1 axis2
    dot: b out
    flatten: order
    max: axis out keepdims
    mean: axis dtype out keepdims
    min: axis out keepdims
    nonzero:
    prod: axis dtype out keepdims
    put: indices values mode
    ravel: order
    repeat: repeats axis
    reshape: shape order copy
    round: decimals out
    sort: axis kind
    squeeze: axis
    std: axis dtype out ddof keepdims
    sum: axis dtype out keepdims
    swapaxes: axis1 axis2
    take: indices axis out
    trace: offset axis1 axis2 dtype out
    transpose: axes
    var: axis dtype out ddof keepdims
    view: dtype type
""")
"""The methods of `cupy.ndarray` that NumPy's arrays have, too, each with the names of its parameters in order."""

METHODS_NOT_MODELLED = _words("""
    argpartition byteswap choose cstruct dump dumps flat mdspan partition ptp reduced_view scatter_add
    scatter_max scatter_min searchsorted toDlpack tofile imag mT real tobytes
""")
"""`cupy.ndarray` has these, the stand-in's has not."""

QUERIES = _words("""
    broadcast_shapes can_cast iscomplexobj isdtype isfortran isrealobj isscalar issubdtype may_share_memory ndim
    promote_types result_type shape shares_memory size
""")
"""They ask the host about shapes and dtypes; nothing happens on the device."""

CREATION = _words("arange eye identity linspace logspace tri")
"""They make arrays of numbers alone."""

VIEWS = _words("""
    array_split atleast_1d atleast_2d atleast_3d broadcast_arrays broadcast_to diagonal dsplit expand_dims flip fliplr
    flipud hsplit imag matrix_transpose moveaxis permute_dims ravel real reshape rollaxis rot90 split squeeze swapaxes
    transpose view vsplit
""")
"""They give views where they can; a copy that they need is the kernel "copy"."""

COPIES = _words("ascontiguousarray asfortranarray copy flatten")
"""They do nothing but copy, if anything."""

MOVES = _words("""
    append argpartition argsort array_split column_stack compress concat concatenate delete diag diagflat diagonal dstack
    extract fill_diagonal hstack lexsort nan_to_num pad partition put putmask repeat roll row_stack sort stack take
    take_along_axis tile tril triu vstack
""")
"""They give their arguments' numbers as they are, or what belongs to them."""

PRODUCTS = _words("dot einsum inner matmul tensordot vdot")
"""They multiply matrices: of floats by cuBLAS, of integers by a kernel of CuPy's own."""

SYNCHRONIZING = _words("""
    argwhere bincount compress delete extract flatnonzero histogram intersect1d median nanmedian
    nonzero percentile put quantile setdiff1d setxor1d union1d unique unique_all unique_counts unique_inverse
    unique_values
""")
"""They wait for the device, to know the size of their result or to check their arguments."""

SYNCHRONIZING_WITH = {"average": "weights", "repeat": "repeats"}
"""They wait if this argument is an array."""

SORTING = _words("""
    argpartition argsort intersect1d lexsort setdiff1d setxor1d sort union1d unique unique_all unique_counts
    unique_inverse unique_values
""")
"""They call Thrust, which waits for the device in a way that a capture does not take."""

"""What machine code computes with: integers, vectors and places in arrays, each an LLVM value with NumPy's operators."""

from typing import TypeAlias

from llvmlite import ir

FLOAT, DOUBLE, INT64, INT32, BIT = ir.FloatType(), ir.DoubleType(), ir.IntType(64), ir.IntType(32), ir.IntType(1)

ALIGNMENT = 4


class Index:
    """A 64-bit integer known at run time. It adds, subtracts and multiplies with ints; not below 0 it is divided by them, too."""

    __slots__ = ("instructions", "value")

    def __init__(self, instructions: ir.IRBuilder, value: ir.Value) -> None:
        self.instructions, self.value = instructions, value

    def __add__(self, other: "Size") -> "Index":
        if isinstance(other, int) and other == 0:
            return self
        return Index(self.instructions, self.instructions.add(self.value, integer(other)))

    def __sub__(self, other: "Size") -> "Index":
        return Index(self.instructions, self.instructions.sub(self.value, integer(other)))

    def __mul__(self, other: "Size") -> "Index":
        if isinstance(other, int) and other == 1:
            return self
        return Index(self.instructions, self.instructions.mul(self.value, integer(other)))

    def __floordiv__(self, other: int) -> "Index":
        return self if other == 1 else Index(self.instructions, self.instructions.udiv(self.value, INT64(other)))

    def __mod__(self, other: int) -> "Index":
        return Index(self.instructions, self.instructions.urem(self.value, INT64(other)))

    def __rsub__(self, other: int) -> "Index":
        return Index(self.instructions, self.instructions.sub(INT64(other), self.value))

    __radd__, __rmul__ = __add__, __mul__


Size: TypeAlias = int | Index


class Vector:
    """Numbers of one type that are worked on together. Adds, subtracts, multiplies and compares as NumPy's do."""

    __slots__ = ("instructions", "value")

    def __init__(self, instructions: ir.IRBuilder, value: ir.Value) -> None:
        self.instructions, self.value = instructions, value

    @property
    def width(self) -> int:
        """How many numbers it holds."""
        return int(self.value.type.count)

    def __add__(self, other: "Vector") -> "Vector":
        add = self.instructions.fadd if self.value.type.element in (FLOAT, DOUBLE) else self.instructions.add
        return Vector(self.instructions, add(self.value, other.value))

    def __sub__(self, other: "Vector") -> "Vector":
        return Vector(self.instructions, self.instructions.fsub(self.value, other.value))

    def __mul__(self, other: "Vector") -> "Vector":
        return Vector(self.instructions, self.instructions.fmul(self.value, other.value))

    def __truediv__(self, other: "Vector") -> "Vector":
        return Vector(self.instructions, self.instructions.fdiv(self.value, other.value))

    def __lt__(self, other: "Vector") -> "Vector":
        """Where it is less; nowhere where one of both is NaN. A vector of bits."""
        return Vector(self.instructions, self.instructions.fcmp_ordered("<", self.value, other.value))

    def __and__(self, other: "Vector") -> "Vector":
        return Vector(self.instructions, self.instructions.and_(self.value, other.value))

    def __or__(self, other: "Vector") -> "Vector":
        return Vector(self.instructions, self.instructions.or_(self.value, other.value))

    def differs(self, other: "Vector") -> "Vector":
        """Where it is another number, or one of both is NaN. A vector of bits."""
        return Vector(self.instructions, self.instructions.fcmp_unordered("!=", self.value, other.value))

    def exceeds_or_nan(self, other: "Vector") -> "Vector":
        """Where it is greater, or one of both is NaN. A vector of bits."""
        return Vector(self.instructions, self.instructions.fcmp_unordered(">", self.value, other.value))

    def equals(self, other: "Vector") -> "Vector":
        """Where integers are the same. A vector of bits."""
        return Vector(self.instructions, self.instructions.icmp_signed("==", self.value, other.value))

    def is_nan(self) -> "Vector":
        """Where it is NaN. A vector of bits."""
        return Vector(self.instructions, self.instructions.fcmp_unordered("uno", self.value, self.value))

    def is_number(self) -> "Vector":
        """Where it is not NaN. A vector of bits."""
        return Vector(self.instructions, self.instructions.fcmp_ordered("ord", self.value, self.value))

    def rectified(self) -> "Vector":
        """max(0, x). A NaN stays one."""
        zero = self._zeros()
        return (self < zero).select(zero, self)

    def where_nonzero(self, output: "Vector") -> "Vector":
        """It where `output` is not 0, and 0 elsewhere: the gradient before ReLU, from the one after it, and its output."""
        zero = self._zeros()
        return output.differs(zero).select(self, zero)

    def _zeros(self) -> "Vector":
        return Vector(self.instructions, ir.Constant(self.value.type, [0.0] * self.width))

    def widened(self) -> "Vector":
        """Floats as doubles."""
        return Vector(self.instructions, self.instructions.fpext(self.value, ir.VectorType(DOUBLE, self.width)))

    def narrowed(self) -> "Vector":
        """Doubles as the nearest floats."""
        return Vector(self.instructions, self.instructions.fptrunc(self.value, ir.VectorType(FLOAT, self.width)))

    def as_bits(self) -> "Vector":
        """The bits of floats, as 32-bit integers."""
        return Vector(self.instructions, self.instructions.bitcast(self.value, ir.VectorType(INT32, self.width)))

    def as_float(self) -> "Vector":
        """The floats of these bits."""
        return Vector(self.instructions, self.instructions.bitcast(self.value, ir.VectorType(FLOAT, self.width)))

    def shifted_right(self, places: int) -> "Vector":
        """Integers without their last bits, zeros before the others."""
        by = ir.Constant(self.value.type, [places] * self.width)
        return Vector(self.instructions, self.instructions.lshr(self.value, by))

    def select(self, yes: "Vector", no: "Vector") -> "Vector":
        """Of a vector of bits: `yes` where they are set, `no` elsewhere."""
        return Vector(self.instructions, self.instructions.select(self.value, yes.value, no.value))


class Pointer:
    """A place in an array of one element type. `pointer + n` lies n elements further."""

    __slots__ = ("element", "instructions", "lanes", "value")

    def __init__(self, instructions: ir.IRBuilder, value: ir.Value, element: ir.Type, lanes: int) -> None:
        self.instructions, self.value, self.element, self.lanes = instructions, value, element, lanes

    def __add__(self, elements: Size) -> "Pointer":
        if isinstance(elements, int) and elements == 0:
            return self
        value = self.instructions.gep(self.value, [integer(elements)], source_etype=self.element)
        return Pointer(self.instructions, value, self.element, self.lanes)

    def load(self, offset: Size = 0, width: int | None = None) -> Vector:
        """The `width` elements from `offset` on, by default as many as the host's vectors hold."""
        kind = ir.VectorType(self.element, self.lanes if width is None else width)
        loaded = self.instructions.load((self + offset).value, typ=kind, align=ALIGNMENT)
        return Vector(self.instructions, loaded)

    def store(self, vector: Vector, offset: Size = 0) -> None:
        """Put the elements of `vector` from `offset` on."""
        self.instructions.store(vector.value, (self + offset).value, align=ALIGNMENT)

    def spread(self, offset: Size = 0, width: int | None = None) -> Vector:
        """The one element at `offset`, in all places of a vector."""
        scalar = self.instructions.load((self + offset).value, typ=self.element, align=ALIGNMENT)
        return Vector(self.instructions, repeated(self.instructions, scalar, self.lanes if width is None else width))


def integer(size: Size) -> ir.Value:
    """A size as LLVM takes it."""
    return INT64(size) if isinstance(size, int) else size.value


def repeated(instructions: ir.IRBuilder, scalar: ir.Value, width: int) -> ir.Value:
    """One number in all places of a vector."""
    kind = ir.VectorType(scalar.type, width)
    one = instructions.insert_element(ir.Constant(kind, ir.Undefined), scalar, INT32(0))
    zeros = ir.Constant(ir.VectorType(INT32, width), [0] * width)
    return instructions.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)

"""A safe reader for pickles of numbers, texts and plain containers: it never imports or calls what a pickle names.

A pickle is a program for a small stack machine, and it may import and call anything. The machine here has the same
instructions, but imports nothing: a name in a pickle stands for one of the few functions that the caller passes in, and
all other names are refused. Time and memory are bounded by the size of the file.
"""
import pickle
import pickletools
from typing import Any, BinaryIO, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..system.errors import PoseError

MAX_BYTES = 64 << 20
# A training state of the largest network here takes 200,000 instructions.
MAX_INSTRUCTIONS = 2_000_000
MAX_LINE_BYTES = 1 << 16


class RefusedPickleError(PoseError):
    """A pickle asks for something that its reader does not allow."""


class Reference(NamedTuple):
    """A name in a pickle, such as that of a function. It is a name only; nothing was imported."""

    module: str
    name: str

    def __str__(self) -> str:
        # The text comes from an untrusted file and may be printed on a terminal.
        text = f'{self.module}.{self.name}'[:100]
        return ''.join(letter if letter.isprintable() else '?' for letter in text)


class Unneeded:
    """Stands for an object in a pickle that is not needed, such as a training record."""

    __slots__ = ()


UNNEEDED = Unneeded()
# {(module, name): function}, the names that a pickle may use; one with None may be named but not called.
KnownNames = Mapping[Tuple[str, str], Optional[Callable]]

CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': (), 'EMPTY_SET': UNNEEDED}
LITERALS = {'INT', 'BININT', 'BININT1', 'BININT2', 'LONG', 'LONG1', 'LONG4', 'FLOAT', 'BINFLOAT', 'STRING', 'BINSTRING',
            'SHORT_BINSTRING', 'UNICODE', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINBYTES',
            'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8'}
KEY_TYPES = (str, int, float, bytes, type(None))


class _Bounded:
    """A file from which no instruction can read more than a limit."""

    def __init__(self, file: BinaryIO, limit: int):
        self._file, self._left = file, limit

    def _take(self, content: bytes) -> bytes:
        self._left -= len(content)
        return content

    def read(self, count: int) -> bytes:
        if count > self._left:
            raise pickle.UnpicklingError('its pickle ends too early or is too large')
        return self._take(self._file.read(count))

    def readline(self) -> bytes:
        return self._take(self._file.readline(min(self._left, MAX_LINE_BYTES)))


def load_pickle(file: BinaryIO, known: KnownNames, load_persistent: Callable[[Any], Any], *, size: int) -> Any:
    """Return the object that the pickle at the file's position describes; the position is after the pickle then.

    Args:
        known: {(module, name): function}; the function is called with the pickle's arguments.
        load_persistent: called with the description of an object that is stored outside of the pickle.
        size: number of bytes from the file's position to its end.

    Raises:
        RefusedPickleError: the pickle uses a name that is not in `known`; that was neither imported nor called.
        Exception: of any kind, if the pickle is damaged.
    """
    machine = _Machine(known, load_persistent)
    for instruction, argument, _ in pickletools.genops(_Bounded(file, min(size, MAX_BYTES))):
        if instruction.name == 'STOP':
            return machine.result()
        machine.execute(instruction.name, argument)
    raise pickle.UnpicklingError('its pickle has no end')


class _Machine:
    """The stack, the memo and the instructions of a pickle."""

    def __init__(self, known: KnownNames, load_persistent: Callable[[Any], Any]):
        self._known, self._load_persistent = known, load_persistent
        self._stack: List[Any] = []
        self._outer_stacks: List[List[Any]] = []
        # A dictionary, because a list would have to grow to any index in the pickle.
        self._memo: Dict[int, Any] = {}
        self._left = MAX_INSTRUCTIONS
        self._actions = {
            'PROTO': lambda _: None, 'FRAME': lambda _: None, 'MARK': self._mark,
            'POP': lambda _: self._stack.pop(), 'POP_MARK': lambda _: self._since_mark(),
            'DUP': lambda _: self._push(self._stack[-1]),
            **dict.fromkeys(('PUT', 'BINPUT', 'LONG_BINPUT'), self._remember),
            'MEMOIZE': lambda _: self._remember(len(self._memo)),
            **dict.fromkeys(('GET', 'BINGET', 'LONG_BINGET'), lambda index: self._push(self._memo[index])),
            'EMPTY_LIST': lambda _: self._push([]), 'EMPTY_DICT': lambda _: self._push({}),
            'LIST': lambda _: self._push(self._since_mark()), 'TUPLE': lambda _: self._push(tuple(self._since_mark())),
            'TUPLE1': lambda _: self._push(self._pop(1)), 'TUPLE2': lambda _: self._push(self._pop(2)),
            'TUPLE3': lambda _: self._push(self._pop(3)),
            'DICT': lambda _: self._fill({}, self._since_mark()),
            'FROZENSET': lambda _: self._drop(self._since_mark()), 'ADDITEMS': lambda _: self._since_mark(),
            'APPEND': lambda _: self._extend(self._pop(1)), 'APPENDS': lambda _: self._extend(self._since_mark()),
            'SETITEM': lambda _: self._set_items(self._pop(2)),
            'SETITEMS': lambda _: self._set_items(self._since_mark()),
            'GLOBAL': lambda text: self._name(*text.split(' ', 1)), 'STACK_GLOBAL': lambda _: self._name(*self._pop(2)),
            'REDUCE': lambda _: self._call(*self._pop(2)), 'NEWOBJ': lambda _: self._call(*self._pop(2)),
            'NEWOBJ_EX': lambda _: self._call(*self._pop(3)[:2]), 'INST': self._instance,
            'OBJ': lambda _: self._object(self._since_mark()),
            # BUILD sets attributes of an object; the objects built here have none.
            'BUILD': lambda _: self._pop(1),
            **dict.fromkeys(('EXT1', 'EXT2', 'EXT4'), self._extension),
            'BINPERSID': lambda _: self._push(self._load_persistent(*self._pop(1)))}

    def execute(self, instruction: str, argument: Any) -> None:
        self._spend(1)
        if instruction in LITERALS:
            self._push(argument)
        elif instruction in CONSTANTS:
            self._push(CONSTANTS[instruction])
        elif instruction in self._actions:
            self._actions[instruction](argument)
        else:
            raise pickle.UnpicklingError(f'its pickle has the instruction {instruction}')

    def result(self) -> Any:
        return self._stack.pop()

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise RefusedPickleError('it holds much more than tensors: its pickle is too long')

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _drop(self, _: Any) -> None:
        self._push(UNNEEDED)

    def _pop(self, count: int) -> tuple:
        if len(self._stack) < count:
            raise pickle.UnpicklingError('its pickle takes more than it has put')
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        return values

    def _mark(self, _: Any) -> None:
        self._outer_stacks.append(self._stack)
        self._stack = []

    def _since_mark(self) -> List[Any]:
        values = self._stack
        self._stack = self._outer_stacks.pop()
        return values

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _extend(self, values) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif target is not UNNEEDED:
            raise pickle.UnpicklingError('its pickle appends to what is no list')

    def _set_items(self, values) -> None:
        self._fill(self._stack.pop(), values)

    def _fill(self, target: Any, values) -> None:
        if target is not UNNEEDED:
            if not isinstance(target, dict) or len(values) % 2:
                raise pickle.UnpicklingError('its pickle sets an item of what is no dictionary')
            # Other keys may be tuples that are nested so deeply that Python cannot hash them.
            target.update((key, value) for key, value in zip(values[::2], values[1::2]) if isinstance(key, KEY_TYPES))
        self._push(target)

    def _name(self, module: Any, name: Any) -> None:
        reference = Reference(module, name)
        if not isinstance(module, str) or not isinstance(name, str):
            raise pickle.UnpicklingError('its pickle names something that is no text')
        if reference not in self._known:
            raise RefusedPickleError(f'it asks for {reference}, which no tensor needs')
        self._push(reference)

    def _call(self, reference: Any, arguments: Any) -> None:
        function = self._known.get(reference) if isinstance(reference, Reference) else None
        if function is None or not isinstance(arguments, tuple):
            raise RefusedPickleError(f'it calls {reference if isinstance(reference, Reference) else "what is no name"}')
        # The same list may be an argument many times, and is copied each time.
        self._spend(sum(len(each) for each in arguments if isinstance(each, (list, tuple, dict))))
        self._push(function(*arguments))

    def _instance(self, text: str) -> None:
        arguments = tuple(self._since_mark())
        self._name(*text.split(' ', 1))
        self._call(self._stack.pop(), arguments)

    def _object(self, values: List[Any]) -> None:
        self._call(values[0], tuple(values[1:]))

    def _extension(self, code: int) -> None:
        raise RefusedPickleError(f'it asks for extension {code}, which no tensor needs')

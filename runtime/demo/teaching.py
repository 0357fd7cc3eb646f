"""Teaching words while the demo runs: a view says when a word begins and ends, the worker listens, learns and saves.

Views call `begin`, `end`, `name` and `forget` from any thread; the worker calls `hear` with every block, and `heard`
with the words that it found. What was taken for a word and is not is said once, after `begin(against=True)`.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import SpeechpressError
from ..escape import counted
from ..samples import mono
from ..stream import Engine
from .enrol import example_of
from .names import word_name
from .sources import Block
from .spotting import Background, Spotter, Word, learn

EXAMPLES = 3
LONGEST_S = 4.0  # a key that got stuck ends by itself


@dataclass(frozen=True)
class Lesson:
    """What a view shows of the teaching: the word that is taught, how often it was said, and a line for people.

    `against`: what is being said is not this word, though it sounds like it.
    """

    word: str
    said: int = 0
    recording: bool = False
    note: str = ""
    against: bool = False


class Teaching:
    """Words taught by voice, `EXAMPLES` times each.

    Args:
        engine: the worker's own, or the head of it that the background's frames are of.
        background: for thresholds.
        spotter: gets each word when it is learned.
        save: called with all words whenever they changed.
    """

    def __init__(
        self, engine: Engine, background: Background, spotter: Spotter, save: Callable[[Sequence[Word]], None] | None
    ) -> None:
        self._engine, self._background, self._spotter, self._save = engine, background, spotter, save
        # Everything changes in the worker's thread only, so that nothing here needs a lock.
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._recorded: list[np.ndarray] = []
        self._examples: list[np.ndarray] = []
        self._heard = ""
        self._before: Lesson | None = None  # the one that "not this" came between
        self.lesson = Lesson(self._free_name())

    def begin(self, against: bool = False) -> None:
        """The word is being said from now on; `against`: what is not the word that was heard last."""
        self._orders.put(lambda: self._begin(against))

    def heard(self, word: str) -> None:
        """A word was found; from the worker."""
        self._heard = word

    def end(self) -> None:
        """The word was said."""
        self._orders.put(self._end)

    def name(self, word: str) -> None:
        """The word that is taught next is called so."""
        self._orders.put(lambda: self._name(word))

    def forget(self) -> None:
        """Forget the examples of a word that is half taught, else the word that was taught last."""
        self._orders.put(self._forget)

    def hear(self, block: Block) -> None:
        """One block from the worker, before it is inferred."""
        # Before the block is kept: it came after what was pressed.
        while not self._orders.empty():
            self._orders.get()()
        if self.lesson.recording:
            self._recorded.append(mono(block.samples))
            self._rate = block.sample_rate
            if sum(map(len, self._recorded)) > LONGEST_S * self._rate:
                self._end()

    def _free_name(self) -> str:
        taken, number = {word.name for word in self._spotter.words}, 1
        while f"word {number}" in taken:
            number += 1
        return f"word {number}"

    def _begin(self, against: bool = False) -> None:
        if self.lesson.recording:
            return
        self._recorded = []
        if not against:
            self.lesson = replace(self.lesson, recording=True, note="")
        elif (word := self._doubted()) is None:
            self.lesson = replace(self.lesson, note="no word is taught yet, so nothing can be taken for one")
        else:
            self._before = self.lesson
            self.lesson = Lesson(word.name, recording=True, against=True)

    def _doubted(self) -> Word | None:
        """The word that was heard last, else the one that was taught last."""
        words = self._spotter.words
        return next((word for word in words if word.name == self._heard), words[-1] if words else None)

    def _end(self) -> None:
        if not self.lesson.recording:
            return
        against, name = self.lesson.against, self.lesson.word
        # A word that is half taught goes on where it was.
        self.lesson = replace(self._before or self.lesson, recording=False, note="")
        self._before = None
        # Let go before a single block came: no error that anybody needs to read.
        if not self._recorded:
            return
        try:
            example = example_of(self._engine, np.concatenate(self._recorded), self._rate)
        except SpeechpressError as error:
            self._note(str(error))
            return
        if against:
            threading.Thread(target=self._learn_against, args=(name, example), daemon=True).start()
            return
        self._examples.append(example)
        said = len(self._examples)
        self.lesson = replace(self.lesson, said=said, note=f"heard {len(example) * self._background.frame_s:.1f} s")
        if said == EXAMPLES:
            # Searching the background takes a while, and the microphone does not wait.
            threading.Thread(target=self._learn, args=(self.lesson.word, self._examples), daemon=True).start()
            self._examples = []

    def _learn(self, name: str, examples: list[np.ndarray]) -> None:
        try:
            word = learn(name, examples, self._background)
        except SpeechpressError as error:
            # Kept, because Python deletes `error` at the end of the block, before the order runs.
            note = str(error)
            self._orders.put(lambda: self._start_over(note))
        else:
            self._orders.put(lambda: self._adopt(word))

    def _learn_against(self, name: str, example: np.ndarray) -> None:
        known = next((word for word in self._spotter.words if word.name == name), None)
        if known is None:  # forgotten meanwhile
            return
        try:
            word = learn(name, known.examples, self._background, against=[*known.against, example])
        except SpeechpressError as error:
            note = str(error)
            self._orders.put(lambda: self._note(note))
        else:
            self._orders.put(lambda: self._replace(word))

    def _replace(self, word: Word) -> None:
        trouble = self._change([word if known.name == word.name else known for known in self._spotter.words])
        self._note(trouble or f"“{word.name}” is not that: {counted(len(word.against), 'counter-example')}")

    def _note(self, note: str) -> None:
        self.lesson = replace(self.lesson, note=note)

    def _adopt(self, word: Word) -> None:
        # A word that is taught again replaces itself.
        others = [known for known in self._spotter.words if known.name != word.name]
        trouble = self._change([*others, word])
        doubt = "; your three differ much, so it may be missed" if word.doubtful else ""
        self._start_over(trouble or f"“{word.name}” is learned: say it{doubt}")

    def _name(self, word: str) -> None:
        try:
            word = word_name(word)
        except SpeechpressError as error:
            self._note(str(error))
            return
        if word:
            self.lesson = replace(self.lesson, word=word, note="")

    def _forget(self) -> None:
        if self._examples:
            self._examples = []
            self._start_over("forgotten; say it three times again")
        elif self._spotter.words:
            gone = self._spotter.words[-1].name
            self._start_over(self._change(self._spotter.words[:-1]) or f"“{gone}” is forgotten")

    def _start_over(self, note: str) -> None:
        self.lesson = Lesson(self._free_name(), note=note)

    def _change(self, words: Sequence[Word]) -> str:
        """The reason why they could not be saved, or nothing."""
        self._spotter.set_words(words)
        try:
            if self._save is not None:
                self._save(words)
        except SpeechpressError as error:
            return str(error)
        return ""

"""Teaching words while the demo runs: a view says when a word begins and ends, the worker listens, learns and saves.

Views call `begin`, `end`, `name` and `forget` from any thread; the worker calls `hear` with every block.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import SpeechpressError
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
    """What a view shows of the teaching: the word that is taught, how often it was said, and a line for people."""

    word: str
    said: int = 0
    recording: bool = False
    note: str = ""


class Teaching:
    """Words taught by voice, `EXAMPLES` times each.

    Args:
        engine: the worker's own.
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
        self.lesson = Lesson(self._free_name())

    def begin(self) -> None:
        """The word is being said from now on."""
        self._orders.put(self._begin)

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

    def _begin(self) -> None:
        if not self.lesson.recording:
            self._recorded = []
            self.lesson = replace(self.lesson, recording=True, note="")

    def _end(self) -> None:
        if not self.lesson.recording:
            return
        self.lesson = replace(self.lesson, recording=False)
        # Let go before a single block came: no error that anybody needs to read.
        if not self._recorded:
            return
        try:
            example = example_of(self._engine, np.concatenate(self._recorded), self._rate)
        except SpeechpressError as error:
            self.lesson = replace(self.lesson, note=str(error))
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

    def _adopt(self, word: Word) -> None:
        # A word that is taught again replaces itself.
        others = [known for known in self._spotter.words if known.name != word.name]
        trouble = self._change([*others, word])
        doubt = "; your three differ much, it may be missed" if word.doubtful else ""
        self._start_over(trouble or f"“{word.name}” is learned: say it{doubt}")

    def _name(self, word: str) -> None:
        try:
            word = word_name(word)
        except SpeechpressError as error:
            self.lesson = replace(self.lesson, note=str(error))
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

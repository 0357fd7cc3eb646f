package org.speechpress.core

import kotlin.math.exp
import kotlin.math.ln
import kotlin.math.ln1p

private const val NEVER = -1e30 // the logarithm of 0

/** CTC prefix beam search over an endless stream; see docs/answers.md for every step. */
internal class BeamSearch(private val spec: HeadSpec, private val beam: Int, private val least: Double, private val wait: Long) {
    private class Mark(val first: Long, val last: Long, val sum: Double, val count: Int)

    /** Where a sequence ends: in a blank, or in its last label. */
    private class End(var log: Double = NEVER, var marks: List<Mark> = emptyList())

    private class Sequence(var labels: List<Int>, val blank: End = End(), val label: End = End()) {
        val total: Double get() = add(blank.log, label.log)
        val marks: List<Mark> get() = if (blank.log >= label.log) blank.marks else label.marks

        fun ended(place: Int): Boolean = place < labels.size - 1 || (place == labels.size - 1 && blank.log >= label.log)

        fun beginsWith(other: List<Int>): Boolean = labels.size >= other.size && labels.subList(0, other.size) == other

        fun olderThan(limit: Long): List<Int> = labels.take(marks.count { it.first <= limit })

        fun shorten(count: Int) {
            labels = labels.drop(count)
            blank.marks = blank.marks.drop(count)
            label.marks = label.marks.drop(count)
        }
    }

    private data class Told(val number: Long, val label: String, val startS: Double, val endS: Double)

    private var frames = 0L
    private var number = 0L
    private var last = -1
    private var sequences = listOf<Sequence>()
    private var told = emptyList<Told>()

    init {
        reset()
    }

    fun reset() {
        frames = 0
        number = 0
        last = -1
        sequences = listOf(Sequence(emptyList(), End(0.0)))
        told = emptyList()
    }

    /** One frame, by the probabilities of its labels. */
    fun hear(row: DoubleArray, events: MutableList<Event>) {
        val top = bestOf(row)
        val tried = (1 until row.size).filter { row[it] >= least || it == top }
        val found = LinkedHashMap<List<Int>, Sequence>()
        for (sequence in sequences) extend(found, sequence, row, tried)
        val totals = found.values.map { it to it.total }
        val ranked = totals.sortedWith(Comparator { one, two ->
            if (one.second != two.second) two.second.compareTo(one.second) else compare(one.first.labels, two.first.labels)
        }).take(beam)
        val best = ranked[0].second
        for ((sequence, _) in ranked) {
            // Relative to the best, or an hour would leave no digits.
            sequence.blank.log = maxOf(NEVER, sequence.blank.log - best)
            sequence.label.log = maxOf(NEVER, sequence.label.log - best)
        }
        sequences = ranked.map { it.first }
        decide()
        settle(events)
        frames++
    }

    /** The frames of a step are over. */
    fun pause(events: MutableList<Event>) {
        val open = tell(sequences[0], sequences[0].labels.size, false)
        val before = told
        told = open.map { Told(it.number, it.label, it.startS, it.endS) }
        events.addAll(open.filterIndexed { index, _ -> told[index] !in before })
    }

    fun finish(): List<Event> = tell(sequences[0], sequences[0].labels.size, true)

    private fun extend(found: MutableMap<List<Int>, Sequence>, sequence: Sequence, row: DoubleArray, tried: List<Int>) {
        val previous = sequence.labels.lastOrNull() ?: last
        val total = sequence.total
        val marks = sequence.marks
        join(found, sequence.labels, false, total, row[0]) { marks }
        if (previous > 0) {
            join(found, sequence.labels, true, sequence.label.log, row[previous]) { longer(sequence.label.marks, row[previous]) }
        }
        for (c in tried) {
            // Right after itself a label goes on; only behind a blank it is a new one.
            val repeats = c == previous
            join(found, sequence.labels + c, true, if (repeats) sequence.blank.log else total, row[c]) {
                (if (repeats) sequence.blank.marks else marks) + Mark(frames, frames, row[c], 1)
            }
        }
    }

    private inline fun join(
        found: MutableMap<List<Int>, Sequence>,
        labels: List<Int>,
        inLabel: Boolean,
        before: Double,
        p: Double,
        marks: () -> List<Mark>
    ) {
        if (before <= NEVER || p <= 0) return
        val log = before + ln(p)
        val sequence = found.getOrPut(labels) { Sequence(labels) }
        val end = if (inLabel) sequence.label else sequence.blank
        // The marks of a way that is likelier than all before it together.
        if (log > end.log) end.marks = marks()
        end.log = add(end.log, log)
    }

    /** With one more frame of the last label; a label that is final already stays as it was told. */
    private fun longer(marks: List<Mark>, p: Double): List<Mark> {
        val mark = marks.lastOrNull() ?: return marks
        return marks.dropLast(1) + Mark(mark.first, frames, mark.sum + p, mark.count + 1)
    }

    /** Drop the sequences that contradict the best one about labels that began long ago. */
    private fun decide() {
        val limit = frames - wait
        val best = sequences[0]
        val old = best.olderThan(limit)
        sequences = sequences.filter { it === best || (it.beginsWith(old) && best.beginsWith(it.olderThan(limit))) }
    }

    /** The labels that all sequences share, and that have ended in each, are final. */
    private fun settle(events: MutableList<Event>) {
        val best = sequences[0]
        var shared = 0
        while (sequences.all { it.ended(shared) && it.labels[shared] == best.labels[shared] }) shared++
        if (shared == 0) return
        last = best.labels[shared - 1]
        val final = tell(best, shared, true)
        number += final.size
        events.addAll(final)
        sequences.forEach { it.shorten(shared) }
    }

    private fun tell(sequence: Sequence, count: Int, isFinal: Boolean): List<Event> {
        val events = ArrayList<Event>()
        for (place in 0 until count) {
            val mark = sequence.marks[place]
            val score = mark.sum / mark.count
            if (!spec.passes(score)) continue
            val label = spec.labels[sequence.labels[place]]
            events.add(spec.event(number + events.size, label, mark.first, mark.last, score, isFinal))
        }
        return events
    }

    private companion object {
        /** log(exp(a) + exp(b)) */
        fun add(a: Double, b: Double): Double {
            val high = maxOf(a, b)
            val low = minOf(a, b)
            return if (low <= NEVER) high else high + ln1p(exp(low - high))
        }

        fun compare(one: List<Int>, two: List<Int>): Int {
            for (place in 0 until minOf(one.size, two.size)) if (one[place] != two[place]) return one[place].compareTo(two[place])
            return one.size.compareTo(two.size)
        }
    }
}

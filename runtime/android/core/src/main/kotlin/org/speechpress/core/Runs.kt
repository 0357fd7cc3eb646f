package org.speechpress.core

/**
 * Stretches of frames with one label: what greedy CTC and units are made of.
 *
 * @param name of a label.
 * @param score of a run, from the mean of its values.
 * @param blank the label of frames without an answer.
 * @param merge whether neighbours of one label are one run.
 */
internal class Runs(
    private val spec: HeadSpec,
    private val blank: Int,
    private val merge: Boolean,
    private val name: (Int) -> String,
    private val score: (Double) -> Double
) {
    private class Run(val label: Int, val first: Long, var last: Long, var sum: Double, var count: Long)

    private var frames = 0L
    private var number = 0L
    private var run: Run? = null

    fun reset() {
        frames = 0
        number = 0
        run = null
    }

    fun hear(label: Int, value: Double, events: MutableList<Event>) {
        val frame = frames++
        val open = run
        if (open != null && open.label == label && merge) {
            open.last = frame
            open.sum += value
            open.count++
            return
        }
        close(events)
        if (label != blank) run = Run(label, frame, frame, value, 1)
    }

    /** The frames of a step are over. */
    fun pause(events: MutableList<Event>) {
        if (merge) run?.let { tell(it, false, events) } else close(events)
    }

    /** End the run that is open, if there is one. */
    fun close(events: MutableList<Event>) {
        val open = run ?: return
        if (tell(open, true, events)) number++
        run = null
    }

    private fun tell(run: Run, isFinal: Boolean, events: MutableList<Event>): Boolean {
        val score = score(run.sum / run.count)
        if (!spec.passes(score)) return false
        events.add(spec.event(number, name(run.label), run.first, run.last, score, isFinal))
        return true
    }
}

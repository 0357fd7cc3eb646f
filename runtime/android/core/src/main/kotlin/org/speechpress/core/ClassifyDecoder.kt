package org.speechpress.core

private const val MAX_VALUES = 1e7 // of a window: frames times labels

/** One answer for the last seconds, or for a clip: a sliding mean of logits. */
internal class ClassifyDecoder(private val spec: HeadSpec) : Decoder {
    private class Run(val label: Int, val first: Long, var last: Long, var sum: Double, var count: Int)

    private val window: Long
    private val every: Long
    private val byLogit: Boolean
    private val clip: Boolean
    private val classes = spec.labels.size
    private val ring: Array<DoubleArray>
    private var sum = DoubleArray(classes)
    private var all = DoubleArray(classes)
    private var frames = 0L
    private var number = 0L
    private var run: Run? = null

    init {
        checkLabels(spec, 1)
        val parameters = Parameters(spec)
        window = toFrames(spec, parameters.number("window_s", 1.0, 0.0, 60.0, above = true), 1)
        every = parameters.numberOrNull("every_s", null, 3600.0)?.let { toFrames(spec, it, 1) } ?: 0
        byLogit = parameters.choice("score", "softmax", "logit") == "logit"
        clip = parameters.flag("clip", true)
        parameters.done()
        if (window.toDouble() * classes > MAX_VALUES) spec.fail("its window of $window frames holds too many values")
        ring = Array(window.toInt()) { DoubleArray(classes) }
    }

    override val wait get() = Wait(spec.ms(window), spec.ms(if (every > 0) every else window))

    override fun reset() {
        frames = 0
        number = 0
        ring.forEach { it.fill(0.0) }
        sum = DoubleArray(classes)
        all = DoubleArray(classes)
        run = null
    }

    override fun step(outputs: List<Rows>, first: Long): List<Event> {
        checkOutputs(spec, outputs)
        val events = ArrayList<Event>()
        for (index in 0 until outputs[0].count) {
            hear(outputs[0].row(index))
            if (frames < window) continue
            val (label, score) = best(sum, window)
            if (every > 0) tellEvery(label, score, events) else tellChange(label, score, events)
        }
        return events
    }

    override fun finish(): List<Event> {
        val events = ArrayList<Event>()
        close(events)
        if (!clip || frames == 0L) return events
        val (label, score) = best(all, frames)
        if (spec.passes(score)) events.add(event(number, label, 0, frames - 1, score, true))
        return events
    }

    private fun hear(row: DoubleArray) {
        val slot = (frames % window).toInt()
        for (index in row.indices) {
            sum[index] = sum[index] - ring[slot][index] + row[index]
            all[index] += row[index]
        }
        ring[slot] = row
        // Anew once a window, so that rounding cannot add up over hours.
        if (slot == ring.size - 1) {
            sum = ring[0].copyOf()
            for (place in 1 until ring.size) for (index in sum.indices) sum[index] += ring[place][index]
        }
        frames++
    }

    private fun best(sum: DoubleArray, count: Long): Pair<Int, Double> {
        val mean = DoubleArray(classes) { sum[it] / count }
        val label = bestOf(mean)
        return label to (if (byLogit) mean[label] else softmax(mean)[label])
    }

    private fun tellEvery(label: Int, score: Double, events: MutableList<Event>) {
        if ((frames - window) % every != 0L || !spec.passes(score)) return
        events.add(event(number++, label, frames - window, frames - 1, score, true))
    }

    private fun tellChange(label: Int, score: Double, events: MutableList<Event>) {
        val open = run
        val answers = spec.passes(score)
        if (open != null && answers && open.label == label) {
            open.last = frames - 1
            open.sum += score
            open.count++
            return
        }
        close(events)
        if (!answers) return
        run = Run(label, frames - window, frames - 1, score, 1)
        events.add(event(number, label, frames - window, frames - 1, score, false))
    }

    private fun close(events: MutableList<Event>) {
        val open = run ?: return
        events.add(event(number++, open.label, open.first, open.last, open.sum / open.count, true))
        run = null
    }

    private fun event(number: Long, label: Int, first: Long, last: Long, score: Double, isFinal: Boolean) =
        spec.event(number, spec.labels[label], first, last, score, isFinal)
}

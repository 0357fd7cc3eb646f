package org.speechpress.core

import kotlin.math.floor

/** Discrete units: the nearest centre of each frame, by its number. */
internal class UnitsDecoder(private val spec: HeadSpec) : Decoder {
    private val dedup: Boolean
    private val runs: Runs

    init {
        val parameters = Parameters(spec)
        dedup = parameters.flag("dedup", true)
        parameters.done()
        runs = Runs(spec, blank = -1, merge = dedup, name = { "$it" }, score = { 1 / (1 + it) })
    }

    override val wait get() = Wait(0.0, if (dedup) spec.ms(1) else 0.0)

    override fun reset() = runs.reset()

    override fun step(outputs: List<Rows>, first: Long): List<Event> {
        checkOutputs(spec, outputs)
        val (distances, ids) = outputs
        if (ids.values.any { it < 0 || it >= distances.width || it != floor(it) }) spec.fail("it gave an id that is none of its units")
        val events = ArrayList<Event>()
        for (index in 0 until ids.count) {
            val unit = ids.row(index)[0].toInt()
            // Rounding can leave a squared distance slightly below 0.
            runs.hear(unit, maxOf(0.0, distances.row(index)[unit]), events)
        }
        if (ids.count > 0) runs.pause(events)
        return events
    }

    override fun finish(): List<Event> = ArrayList<Event>().also(runs::close)
}

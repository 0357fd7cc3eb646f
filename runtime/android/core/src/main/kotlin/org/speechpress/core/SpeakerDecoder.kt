package org.speechpress.core

import kotlin.math.sqrt

/** The vector of who speaks, over everything heard so far. */
internal class SpeakerDecoder(private val spec: HeadSpec) : Decoder {
    private val every: Long
    private val normalise: Boolean
    private var frames = 0L
    private var told = 0L
    private var vector: DoubleArray? = null

    init {
        val parameters = Parameters(spec)
        every = parameters.numberOrNull("every_s", 1.0, 3600.0)?.let { toFrames(spec, it, 1) } ?: 0
        normalise = parameters.flag("normalise", true)
        parameters.done()
    }

    override val wait get() = Wait(spec.ms(every), 0.0)

    override fun reset() {
        frames = 0
        told = 0
        vector = null
    }

    override fun step(outputs: List<Rows>, first: Long): List<Event> {
        checkOutputs(spec, outputs)
        val rows = outputs[0]
        if (first == 0L || rows.count == 0) return emptyList()
        frames = first
        vector = rows.row(rows.count - 1)
        if (every == 0L || first / every == told) return emptyList()
        told = first / every
        return tell(false)
    }

    override fun finish(): List<Event> = tell(true)

    private fun tell(isFinal: Boolean): List<Event> {
        val raw = vector ?: return emptyList()
        var squares = 0.0
        for (value in raw) squares += value * value
        val length = sqrt(squares)
        val scaled = if (normalise && length > 0) raw.map { it / length } else raw.toList()
        return listOf(spec.event(0, "", 0, frames - 1, length, isFinal).copy(vector = scaled))
    }
}

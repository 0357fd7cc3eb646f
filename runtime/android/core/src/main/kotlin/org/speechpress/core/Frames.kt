package org.speechpress.core

/**
 * Frames that came out of one call.
 *
 * @property values n x [width], one frame after the other.
 * @property endS end of each frame's audio, in seconds since the stream began.
 * @property inferMs how long each chunk took that was run for them.
 * @property events what the heads say, see docs/answers.md.
 */
class Frames(
    val values: FloatArray,
    val width: Int,
    val endS: DoubleArray,
    val inferMs: DoubleArray,
    val events: List<Event> = emptyList()
) {
    val count: Int get() = endS.size
}

internal class FrameCollector(private val spec: StreamSpec) {
    private val parts = ArrayList<FloatArray>()
    private val endS = ArrayList<Double>()
    private val inferMs = ArrayList<Double>()
    private val events = ArrayList<Event>()

    fun addEvents(found: List<Event>) {
        events.addAll(found)
    }

    /** Keep the rows [from, to) of a chunk, of which row 0 is the frame [firstFrame]. */
    fun add(chunk: FloatArray, firstFrame: Long, from: Int, to: Int, tookMs: Double) {
        inferMs.add(tookMs)
        if (from >= to) return
        parts.add(chunk.copyOfRange(from * spec.width, to * spec.width))
        for (row in from until to) endS.add(spec.endS(firstFrame + row))
    }

    fun frames(): Frames {
        val values = FloatArray(endS.size * spec.width)
        var at = 0
        for (part in parts) {
            part.copyInto(values, at)
            at += part.size
        }
        return Frames(values, spec.width, endS.toDoubleArray(), inferMs.toDoubleArray(), events)
    }
}

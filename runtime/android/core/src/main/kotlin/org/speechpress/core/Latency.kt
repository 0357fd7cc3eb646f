package org.speechpress.core

/** The last [capacity] times in milliseconds, and their quantiles. */
class RecentTimes(private val capacity: Int = 1000) {
    private val values = DoubleArray(capacity)
    private var recorded = 0L

    val count: Int get() = minOf(recorded, capacity.toLong()).toInt()

    fun add(ms: Double) {
        values[(recorded++ % capacity).toInt()] = ms
    }

    /** Linear between the two nearest, as numpy does it; NaN before the first time. */
    fun quantile(share: Double): Double {
        if (count == 0) return Double.NaN
        val sorted = values.copyOf(count).apply { sort() }
        val place = share * (count - 1)
        val below = place.toInt()
        val above = minOf(below + 1, count - 1)
        return sorted[below] + (place - below) * (sorted[above] - sorted[below])
    }
}

/**
 * What a live stream cost, up to now.
 *
 * @property worstAgeMs how old, at most, the oldest sample of a frame's own hop was when the frame came out: chunk,
 *     look-ahead, the block it was captured in, waiting and computing. What lies before the app (microphone, audio
 *     server) is not in it.
 */
class LatencyFigures(
    val inferP50Ms: Double,
    val inferP99Ms: Double,
    val worstAgeMs: Double,
    val chunks: Int,
    val droppedBlocks: Long
)

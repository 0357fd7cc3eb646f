package org.speechpress.core

/** Gathers pieces of any size into chunks of one size. */
internal class ChunkBuffer(sizeSamples: Int) {
    private val samples = FloatArray(sizeSamples)
    private var filled = 0

    val isFull: Boolean get() = filled == samples.size

    /** Take what fits of [piece] from [from] on; how many samples that was. */
    fun take(piece: FloatArray, from: Int): Int {
        val count = minOf(piece.size - from, samples.size - filled)
        piece.copyInto(samples, filled, from, from + count)
        filled += count
        return count
    }

    fun fillWithSilence() {
        samples.fill(0f, filled, samples.size)
        filled = samples.size
    }

    /** The full chunk, as a copy, which an engine may keep; the buffer is empty again. */
    fun drain(): FloatArray {
        check(isFull) { "a chunk of $filled samples was taken, but it has ${samples.size}" }
        filled = 0
        return samples.copyOf()
    }

    fun clear() {
        filled = 0
    }
}

package org.speechpress.core

/** Frames of a stream whose last one is not known yet: what the state `end` starts with. */
const val NO_END: Long = Int.MAX_VALUE.toLong()

/**
 * How a streaming model cuts time.
 *
 * Frame t is made from the samples [t x hop, t x hop + receptive) and from the past; beyond these it waits for
 * [lookaheadFrames] more. Before the first sample there is silence that fills up its first hop, so that every chunk, also
 * the first, is of [chunkSamples].
 */
data class StreamSpec(
    val chunkFrames: Int,
    val width: Int,
    val sampleRate: Int = 16_000,
    val hopSamples: Int = 320,
    val receptiveSamples: Int = 400,
    val lookaheadFrames: Int = 0,
    /** How long after its time a frame speaks of it. */
    val lagFrames: Int = 0
) {
    init {
        require(chunkFrames > 0 && width > 0 && sampleRate > 0) { "a StreamSpec of no frames: $this" }
        require(hopSamples > 0 && receptiveSamples > 0 && lookaheadFrames >= 0 && lagFrames >= 0) { "no StreamSpec: $this" }
    }

    val chunkSamples: Int get() = chunkFrames * hopSamples

    /** Audio that is carried from chunk to chunk. */
    val tailSamples: Int get() = maxOf(0, receptiveSamples - hopSamples)

    /** Frames that the first chunk yields before there was audio for frame 0, besides the look-ahead. */
    val leadFrames: Int get() = (tailSamples + hopSamples - 1) / hopSamples

    /** Number of the frame with which the first chunk starts; there is audio from frame 0 on. */
    val firstFrame: Int get() = -leadFrames - lookaheadFrames

    /** Silence before the first sample. */
    val silenceSamples: Int get() = leadFrames * hopSamples - tailSamples

    val chunkMs: Double get() = ms(chunkSamples)

    /** Audio after a frame's own hop that it is made from. */
    val lookaheadMs: Double get() = ms(tailSamples + lookaheadFrames * hopSamples)

    val lagMs: Double get() = ms(lagFrames * hopSamples)

    /** Age of the oldest sample of the hop that a frame speaks of when it comes out, without the time to compute it. */
    val worstAgeMs: Double get() = chunkMs + lookaheadMs + lagMs

    /** Frames that [samples] make in all. */
    fun frames(samples: Long): Long = maxOf(0, Math.floorDiv(samples - receptiveSamples, hopSamples.toLong()) + 1)

    /** When the audio of which a frame speaks ends, in seconds since the stream began. */
    fun endS(frame: Long): Double = ((frame - lagFrames) * hopSamples + receptiveSamples).toDouble() / sampleRate

    fun ms(samples: Int): Double = 1000.0 * samples / sampleRate
}

package org.speechpress.core

private const val INT16_SCALE = 1f / 32_768
private const val FULL_SCALE = 1f - INT16_SCALE

// As in runtime/samples.py: no audio is louder, and squares of it stay finite.
private const val LOUDEST = 2_147_483_648f

/**
 * What a stream has heard, and how much of it was not as it should be.
 *
 * @property replaced NaN or infinite samples: taken as silence.
 * @property clipped samples at or beyond full scale: left as they are, but clipped at 2^31.
 */
data class Counts(val samples: Long = 0, val replaced: Long = 0, val clipped: Long = 0)

/** Turns pieces into sound float samples and counts what it finds. */
internal class SampleReader {
    var counts = Counts()
        private set

    fun read(samples: ShortArray, count: Int): FloatArray = read(count) { samples[it] * INT16_SCALE }

    fun read(samples: FloatArray, count: Int): FloatArray = read(count) { samples[it] }

    private inline fun read(count: Int, sample: (Int) -> Float): FloatArray {
        var replaced = 0L
        var clipped = 0L
        val piece = FloatArray(count) {
            val value = sample(it)
            val sound = !value.isNaN() && !value.isInfinite()
            if (!sound) replaced++ else if (Math.abs(value) >= FULL_SCALE) clipped++
            if (sound) value.coerceIn(-LOUDEST, LOUDEST) else 0f
        }
        counts = Counts(counts.samples + count, counts.replaced + replaced, counts.clipped + clipped)
        return piece
    }
}

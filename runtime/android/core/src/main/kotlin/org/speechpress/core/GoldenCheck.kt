package org.speechpress.core

import java.util.Locale
import kotlin.math.abs
import kotlin.math.log10
import kotlin.math.sqrt

private const val PIECE_SAMPLES = 1000 // no divisor of a chunk, so that the cutting is checked too

private const val MAX_SNR_DB = 200.0 // beyond float32
private val INFINITELY_FAR = Parity(Double.POSITIVE_INFINITY, -1.0, Double.NEGATIVE_INFINITY)

/** What the frames of a program have to meet against those of the checkpoint; null is not asked for. */
data class Tolerance(val maxAbs: Double? = null, val cosine: Double? = null, val snrDb: Double? = null)

/** How close frames are to those that they should be: [cosine] is the mean over frames. */
data class Parity(val maxAbs: Double, val cosine: Double, val snrDb: Double) {
    fun meets(limits: Tolerance): Boolean =
        (limits.maxAbs == null || maxAbs <= limits.maxAbs) &&
            (limits.cosine == null || cosine >= limits.cosine) &&
            (limits.snrDb == null || snrDb >= limits.snrDb)
}

/** What a device made of the golden clip; [message] is for people. */
class GoldenResult(val passed: Boolean, val parity: Parity, val frames: Int, val message: String)

/**
 * Stream the clip that travels in a bundle through [engine] and compare with the checkpoint's own frames.
 *
 * Throws [SpeechpressException] when the bundle holds no frames for chunks of this size.
 */
fun checkGolden(bundle: Bundle, engine: Engine): GoldenResult {
    val clip = golden(bundle, "audio")
    val expected = golden(bundle, "frames_${engine.spec.chunkFrames}")
    val values = stream(engine, clip.values)
    val limits = bundle.manifest.tolerance
    val parity = parity(values, expected.values, engine.spec.width)
    val passed = parity.meets(limits)
    val figures = String.format(Locale.ROOT, "cosine %.5f, SNR %.1f dB, max %.2g", parity.cosine, parity.snrDb, parity.maxAbs)
    val verdict = if (passed) "passed" else "FAILED (must meet $limits)"
    return GoldenResult(passed, parity, values.size / engine.spec.width, "golden clip: $verdict, $figures")
}

private fun golden(bundle: Bundle, name: String): FloatTensor = bundle.golden[name] as? FloatTensor
    ?: throw SpeechpressException("$GOLDEN: has no float32 \"$name\", only ${bundle.golden.keys}; export the bundle again")

private fun stream(engine: Engine, clip: FloatArray): FloatArray {
    val extractor = StreamingExtractor(engine)
    val parts = (0 until clip.size step PIECE_SAMPLES).map {
        extractor.push(clip.copyOfRange(it, minOf(it + PIECE_SAMPLES, clip.size))).values
    } + listOf(extractor.flush().values)
    val values = FloatArray(parts.map { it.size }.sum())
    var at = 0
    for (part in parts) {
        part.copyInto(values, at)
        at += part.size
    }
    return values
}

/** Compare frames (T x [width]) with those that they should be, by the same figures as speechpress.runtime.verify. */
fun parity(values: FloatArray, expected: FloatArray, width: Int): Parity {
    if (values.size != expected.size || values.any { it.isNaN() || it.isInfinite() }) return INFINITELY_FAR
    var maxAbs = 0.0
    var error = 0.0
    var power = 0.0
    for (index in values.indices) {
        val difference = values[index].toDouble() - expected[index]
        maxAbs = maxOf(maxAbs, abs(difference))
        error += difference * difference
        power += expected[index].toDouble() * expected[index]
    }
    val frames = values.size / width
    val cosine = (0 until frames).map { cosine(values, expected, it * width, width) }.average()
    val snrDb = if (error <= power * 1e-20) MAX_SNR_DB else 10 * log10(maxOf(power, 1e-30) / error)
    return Parity(maxAbs, cosine, snrDb)
}

private fun cosine(a: FloatArray, b: FloatArray, from: Int, width: Int): Double {
    var dot = 0.0
    var aa = 0.0
    var bb = 0.0
    for (index in from until from + width) {
        dot += a[index].toDouble() * b[index]
        aa += a[index].toDouble() * a[index]
        bb += b[index].toDouble() * b[index]
    }
    return dot / maxOf(sqrt(aa * bb), 1e-12)
}

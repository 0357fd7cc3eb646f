package org.speechpress.core

/** The program's method that says how many tensors a step gives between its frames and its state. */
internal const val HEAD_OUTPUTS = "head_outputs"
internal const val LAG_FRAMES = "lag_frames"

private const val MAX_WIDTH = 65_536L

/**
 * What bundle.json says of a head; see docs/answers.md.
 *
 * @property labels of the columns of its logits; of CTC the first is the blank, "".
 * @property widths columns of each of its outputs.
 * @property decoder its decoder's parameters, as they were written.
 * @property threshold the score from which on it answers; null where it always does.
 */
class HeadSpec(
    val name: String,
    val kind: String,
    val labels: List<String>,
    val widths: List<Int>,
    val hopSamples: Int = 320,
    val sampleRate: Int = 16_000,
    val decoder: Json.Obj = Json.Obj(emptyMap()),
    val threshold: Double? = null,
    val delayMs: Double = 0.0
) {
    /** Whether a row of its outputs is about everything that was heard, and not about a frame. */
    val byChunk: Boolean get() = kind == "speaker"

    /** Whether an output holds whole numbers. */
    fun isWhole(output: Int): Boolean = kind == "units" && output == 1

    fun startS(frame: Long): Double = (frame * hopSamples).toDouble() / sampleRate

    fun endS(frame: Long): Double = startS(frame + 1)

    fun ms(frames: Long): Double = 1000.0 * frames * hopSamples / sampleRate

    internal fun fail(what: String): Nothing = throw SpeechpressException("head $name ($kind): $what; export the bundle again")
}

/** The heads of a bundle.json; none when it has no such list. */
internal fun readHeads(document: Fields): List<HeadSpec> {
    if ("heads" !in document.names) return emptyList()
    val heads = document.list("heads").map(::readHead)
    if (heads.map { it.name }.toSet().size < heads.size) document.fail("has two heads of one name")
    heads.forEach { decoderOf(it) } // refuses what it cannot decode before any audio comes
    return heads
}

internal fun readHead(head: Fields): HeadSpec {
    val widths = head.ints("widths")
    val kind = head.text("kind")
    if (widths.any { it !in 1..MAX_WIDTH }) head.fail("has a width of $widths")
    if (widths.size != (if (kind == "units") 2 else 1)) head.fail("has ${widths.size} outputs, which its kind has not")
    val delayMs = head.number("delay_ms")
    if (delayMs !in 0.0..1e6) head.fail("has a delay of $delayMs ms")
    return HeadSpec(
        head.text("name"), kind, head.texts("labels"), widths.map { it.toInt() }, head.positive("hop_samples"),
        head.positive("sample_rate"), head.members("decoder"), head.numberOrNull("threshold"), delayMs
    )
}

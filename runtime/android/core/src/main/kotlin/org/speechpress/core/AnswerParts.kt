package org.speechpress.core

import kotlin.math.abs
import kotlin.math.exp
import kotlin.math.floor

/** Reads the parameters of a head's decoder; what is not read until [done] is unknown. */
internal class Parameters(private val spec: HeadSpec) {
    private val known = HashSet<String>()

    /** From [low], which it must exceed when [above], to [high]. */
    fun number(name: String, otherwise: Double, low: Double, high: Double, above: Boolean = false): Double {
        val value = find(name) ?: return otherwise
        val number = (value as? Json.Num)?.digits?.toDouble() ?: wrong(name)
        if (number > high || number < low || (above && number == low)) wrong(name)
        return number
    }

    /** Above 0, or null. */
    fun numberOrNull(name: String, otherwise: Double?, high: Double): Double? = when (find(name)) {
        null -> otherwise
        is Json.Null -> null
        else -> number(name, 0.0, 0.0, high, above = true)
    }

    fun whole(name: String, otherwise: Int, low: Int, high: Int): Int {
        val value = find(name) ?: return otherwise
        val number = (value as? Json.Num)?.digits?.toIntOrNull() ?: wrong(name)
        return if (number in low..high) number else wrong(name)
    }

    fun flag(name: String, otherwise: Boolean): Boolean {
        val value = find(name) ?: return otherwise
        return (value as? Json.Bool ?: wrong(name)).value
    }

    /** One of the choices; the first when it is not named. */
    fun choice(name: String, vararg choices: String): String {
        val value = find(name) ?: return choices[0]
        val text = (value as? Json.Str)?.value
        return choices.firstOrNull { it == text } ?: wrong(name)
    }

    fun done() {
        for (name in spec.decoder.members.keys) if (name !in known) spec.fail("its decoder has an unknown parameter \"$name\"")
    }

    private fun find(name: String): Json? {
        known.add(name)
        return spec.decoder.members[name]
    }

    private fun wrong(name: String): Nothing =
        spec.fail("decoder.$name is ${spec.decoder.members.getValue(name).canonical().take(40)}, which is not in its range")
}

/** There must be a label for each column of the first output, and at least so many. */
internal fun checkLabels(spec: HeadSpec, least: Int) {
    val width = spec.widths[0]
    if (spec.labels.size != width || width < least) {
        spec.fail("has ${spec.labels.size} labels for $width columns, but must have one for each, and at least $least")
    }
}

internal fun checkThreshold(spec: HeadSpec) {
    if (spec.threshold != null && spec.threshold !in 0.0..1.0) spec.fail("its threshold is ${spec.threshold}, but must be from 0 to 1")
}

/** The outputs must be those of the head, of one length, and finite. */
internal fun checkOutputs(spec: HeadSpec, outputs: List<Rows>) {
    val fit = outputs.size == spec.widths.size && outputs.indices.all {
        val rows = outputs[it]
        rows.width == spec.widths[it] && rows.count == outputs[0].count && rows.values.size == rows.count * rows.width
    }
    if (!fit) spec.fail("its outputs are not those that it must have")
    val finite = outputs.all { rows -> rows.values.none { it.isNaN() || it.isInfinite() } }
    if (!finite) spec.fail("it gave values that are not finite")
}

/** The nearest number of frames, a half rounded up. */
internal fun toFrames(spec: HeadSpec, durationS: Double, least: Long = 0): Long =
    maxOf(least, floor(durationS * spec.sampleRate / spec.hopSamples + 0.5).toLong())

internal fun softmax(x: DoubleArray): DoubleArray {
    val most = x[bestOf(x)]
    val powers = DoubleArray(x.size) { exp(x[it] - most) }
    var sum = 0.0
    for (power in powers) sum += power
    return DoubleArray(x.size) { powers[it] / sum }
}

internal fun sigmoid(x: Double): Double {
    val small = exp(-abs(x))
    return if (x >= 0) 1 / (1 + small) else small / (1 + small)
}

/** The place of the largest value, the first one of equals. */
internal fun bestOf(x: DoubleArray): Int {
    var best = 0
    for (index in x.indices) if (x[index] > x[best]) best = index
    return best
}

/** Whether it is an answer: a score at the threshold is one. */
internal fun HeadSpec.passes(score: Double): Boolean = threshold == null || score >= threshold

internal fun HeadSpec.event(number: Long, label: String, first: Long, last: Long, score: Double, isFinal: Boolean) =
    Event(name, kind, number, label, startS(first), endS(last), score, isFinal)

package org.speechpress.core

import java.math.BigDecimal
import java.math.RoundingMode

/**
 * One answer of one head; see docs/answers.md.
 *
 * @property number within its head; a later event of the same number replaces a partial one.
 * @property startS of the audio that it is about, in seconds since the stream began; likewise [endS].
 * @property isFinal whether it cannot change any more.
 * @property vector of a speaker head; empty elsewhere.
 */
data class Event(
    val head: String,
    val kind: String,
    val number: Long,
    val label: String,
    val startS: Double,
    val endS: Double,
    val score: Double,
    val isFinal: Boolean = true,
    val vector: List<Double> = emptyList()
) {
    /** One object on one line, with the keys and digits of Python's `Event.to_dict`. */
    fun toJson(): String {
        val told = "{\"head\": ${quoted(head)}, \"kind\": ${quoted(kind)}, \"number\": $number, \"label\": ${quoted(label)}, " +
            "\"start_s\": ${rounded(startS, 3)}, \"end_s\": ${rounded(endS, 3)}, \"score\": ${rounded(score, 4)}, " +
            "\"final\": $isFinal"
        if (vector.isEmpty()) return "$told}"
        return "$told, \"vector\": [${vector.joinToString { rounded(it, 4) }}]}"
    }

    private fun quoted(text: String): String = Json.Str(text).canonical()

    private fun rounded(value: Double, digits: Int): String {
        val exact = BigDecimal(value).setScale(digits, RoundingMode.HALF_EVEN).toPlainString().trimEnd('0')
        return if (exact.endsWith('.')) "${exact}0" else exact
    }
}

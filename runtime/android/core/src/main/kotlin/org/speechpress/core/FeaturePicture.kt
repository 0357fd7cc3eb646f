package org.speechpress.core

import kotlin.math.sqrt

private const val FORGET = 0.002 // of mean and spread with every frame; at 50 frames per second half in seven seconds
private const val DEVIATIONS = 2.5 // at which a colour saturates

/**
 * Turns frames into columns of colours: neighbouring dimensions are averaged into [rows], and each row is shown against
 * its own recent mean and spread, because the dimensions of an encoder differ in both by orders of magnitude.
 */
class FeaturePicture(private val width: Int, maxRows: Int) {
    val rows: Int = minOf(width, maxRows)
    private val mean = DoubleArray(rows)
    private val variance = DoubleArray(rows)
    private var frames = 0L

    /** The colours of one frame (D, from [offset] on in [values]), ARGB, blue below and red above its mean. */
    fun column(values: FloatArray, offset: Int): IntArray {
        frames++
        return IntArray(rows) { colour(deviations(it, average(values, offset, it))) }
    }

    private fun average(values: FloatArray, offset: Int, row: Int): Double {
        val from = row * width / rows
        val to = (row + 1) * width / rows
        var sum = 0.0
        for (index in from until to) sum += values[offset + index]
        return sum / (to - from)
    }

    private fun deviations(row: Int, value: Double): Double {
        val weight = maxOf(FORGET, 1.0 / frames) // the plain mean until there were enough frames
        val difference = value - mean[row]
        mean[row] += weight * difference
        variance[row] += weight * (difference * (value - mean[row]) - variance[row])
        return if (variance[row] > 0) (value - mean[row]) / sqrt(variance[row]) else 0.0
    }

    private fun colour(deviations: Double): Int {
        val strength = (deviations / DEVIATIONS).coerceIn(-1.0, 1.0)
        val faded = (255 * (1 - Math.abs(strength))).toInt()
        val red = if (strength >= 0) 255 else faded
        val blue = if (strength <= 0) 255 else faded
        return (255 shl 24) or (red shl 16) or (faded shl 8) or blue
    }
}

package org.speechpress.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import java.util.Random

class StreamingExtractorTest {
    private val spec = StreamSpec(chunkFrames = 4, width = 3, hopSamples = 32, receptiveSamples = 40, lookaheadFrames = 2)

    @Test
    fun `cuts time as the contract says`() {
        val real = StreamSpec(chunkFrames = 16, width = 768, lookaheadFrames = 2)
        assertEquals(listOf(5120, 80, 240, 1, -3), real.run { listOf(chunkSamples, tailSamples, silenceSamples, leadFrames, firstFrame) })
        assertEquals(listOf(320.0, 45.0, 365.0), real.run { listOf(chunkMs, lookaheadMs, worstAgeMs) })
        assertEquals(listOf(0L, 0L, 1L, 1L, 2L), listOf(0L, 399L, 400L, 719L, 720L).map(real::frames))
        assertEquals(0.045, real.endS(1), 0.0)
    }

    @Test
    fun `pieces of any size give the frames of one piece`() {
        val audio = noise(3000)
        val whole = run(audio, listOf(audio.size))
        val random = Random(1)
        repeat(20) {
            val sizes = generateSequence { random.nextInt(200) }.take(100).toList()
            assertArrayEquals(whole, run(audio, sizes), 0f)
        }
        assertEquals(spec.frames(3000).toInt() * spec.width, whole.size)
        assertFalse(whole.any { it.isNaN() })
    }

    @Test
    fun `a clip shorter than a frame gives none`() {
        for (samples in listOf(0, 1, 39)) assertEquals(0, run(noise(samples), listOf(samples)).size)
        assertEquals(spec.width, run(noise(40), listOf(40)).size)
    }

    @Test
    fun `counts what it hears`() {
        val extractor = StreamingExtractor(ToyEngine(spec))
        extractor.push(floatArrayOf(0f, Float.NaN, Float.NEGATIVE_INFINITY, 1e38f, -1.5f, 0.999f))
        extractor.push(shortArrayOf(Short.MIN_VALUE, Short.MAX_VALUE, 32_766, 99), count = 3)
        assertEquals(Counts(samples = 9, replaced = 2, clipped = 4), extractor.counts)
    }

    @Test
    fun `a flushed stream is closed until it is reset`() {
        val extractor = StreamingExtractor(ToyEngine(spec))
        extractor.push(noise(500))
        extractor.flush()
        assertError("reset()") { extractor.push(noise(1)) }
        assertError("reset()") { extractor.flush() }
        extractor.reset()
        assertEquals(Counts(), extractor.counts)
        val frames = extractor.push(noise(400))
        assertEquals(spec.endS(0), frames.endS[0], 0.0)
        assertTrue(frames.inferMs.isNotEmpty())
    }

    private fun run(audio: FloatArray, sizes: List<Int>): FloatArray {
        val extractor = StreamingExtractor(ToyEngine(spec))
        var out = FloatArray(0)
        var at = 0
        for (size in sizes + audio.size) {
            val to = minOf(at + size, audio.size)
            out += extractor.push(audio.copyOfRange(at, to)).values
            at = to
        }
        return out + extractor.flush().values
    }

    private fun noise(samples: Int): FloatArray = Random(samples.toLong()).let { random -> FloatArray(samples) { random.nextFloat() - 0.5f } }
}

/** Runs [action], which must throw a SpeechpressException whose message holds [part]. */
fun assertError(part: String, action: () -> Unit) {
    val message = try {
        action()
        null
    } catch (error: SpeechpressException) {
        error.message
    }
    assertTrue("no error with \"$part\": $message", message != null && part in message)
}

package org.speechpress.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

class LiveStreamTest {
    private val spec = StreamSpec(chunkFrames = 2, width = 2, sampleRate = 1000, hopSamples = 10, receptiveSamples = 12)

    @Test
    fun `a full queue drops the newest block and counts it`() {
        val queue = BlockQueue(2)
        for (value in 1..5) queue.offer(AudioBlock(shortArrayOf(value.toShort()), 0))
        assertEquals(3L, queue.dropped)
        assertEquals(listOf(1, 2), List(2) { queue.poll(0)!!.samples[0].toInt() })
        assertNull(queue.poll(1))
    }

    @Test
    fun `the age of a frame is made of chunk, look-ahead, block and waiting`() {
        val queue = BlockQueue(10)
        val live = LiveStream(StreamingExtractor(ToyEngine(spec)), queue, nowNs = { 7_000_000 })
        repeat(4) { queue.offer(AudioBlock(ShortArray(5), capturedNs = 2_000_000)) }
        val frames = List(4) { live.next(0)!!.count }
        assertEquals(listOf(0, 0, 1, 0), frames)
        val figures = live.figures()
        assertEquals(20.0 + 2.0 + 5.0 + 5.0, figures.worstAgeMs, 1e-9)
        assertEquals(1, figures.chunks)
        assertEquals(0L, figures.droppedBlocks)
        assertTrue(figures.inferP50Ms >= 0)
        assertEquals(20L, live.counts.samples)
        assertNull(live.next(1))
    }

    @Test
    fun `quantiles are linear and of the last times only`() {
        val times = RecentTimes(capacity = 5)
        assertTrue(times.quantile(0.5).isNaN())
        for (ms in listOf(100.0, 100.0, 5.0, 1.0, 2.0, 3.0, 4.0)) times.add(ms)
        assertEquals(3.0, times.quantile(0.5), 0.0)
        assertEquals(4.96, times.quantile(0.99), 1e-12)
    }

    @Test
    fun `a picture shows every row against its own mean`() {
        val picture = FeaturePicture(width = 4, maxRows = 2)
        assertEquals(2, picture.rows)
        val white = 0xffffffff.toInt()
        assertArrayEquals(intArrayOf(white, white), picture.column(floatArrayOf(1f, 3f, 5f, 5f), 0))
        val next = picture.column(floatArrayOf(0f, 9f, 9f, -100f, -100f), offset = 1)
        assertTrue(next[0] and 0xff < 255 && next[0] shr 16 and 0xff == 255)
        assertTrue(next[1] shr 16 and 0xff < 255 && next[1] and 0xff == 255)
    }
}

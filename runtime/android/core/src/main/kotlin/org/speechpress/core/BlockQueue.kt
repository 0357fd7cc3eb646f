package org.speechpress.core

import java.util.concurrent.ArrayBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicLong

/** A block of PCM and when its last sample was read, in the time of `System.nanoTime`. */
class AudioBlock(val samples: ShortArray, val capturedNs: Long)

/**
 * Blocks on their way from the thread that captures to the one that computes.
 *
 * When it is full the new block is dropped and counted: the capturing thread must never wait, or the system loses audio
 * that nobody counts. The stream closes the gap, so the times of later frames are those of the audio that was heard.
 */
class BlockQueue(capacityBlocks: Int) {
    private val blocks = ArrayBlockingQueue<AudioBlock>(capacityBlocks)
    private val droppedBlocks = AtomicLong()

    val dropped: Long get() = droppedBlocks.get()

    fun offer(block: AudioBlock) {
        if (!blocks.offer(block)) droppedBlocks.incrementAndGet()
    }

    /** The oldest block; null when none came for [timeoutMs]. */
    fun poll(timeoutMs: Long): AudioBlock? = blocks.poll(timeoutMs, TimeUnit.MILLISECONDS)
}

package org.speechpress.core

/** Pushes captured blocks through an extractor and keeps the figures of what that costs. */
class LiveStream(
    private val extractor: StreamingExtractor,
    private val queue: BlockQueue,
    private val nowNs: () -> Long = System::nanoTime
) {
    private val inferMs = RecentTimes()
    private var chunks = 0
    private var worstAgeMs = 0.0

    val counts: Counts get() = extractor.counts

    /** Wait for a block and hear it; null when none came for [timeoutMs]. */
    fun next(timeoutMs: Long): Frames? {
        val block = queue.poll(timeoutMs) ?: return null
        val frames = extractor.push(block.samples)
        frames.inferMs.forEach(inferMs::add)
        chunks += frames.inferMs.size
        if (frames.count > 0) worstAgeMs = maxOf(worstAgeMs, ageMs(block))
        return frames
    }

    fun figures() = LatencyFigures(inferMs.quantile(0.5), inferMs.quantile(0.99), worstAgeMs, chunks, queue.dropped)

    private fun ageMs(block: AudioBlock): Double =
        extractor.spec.worstAgeMs + extractor.spec.ms(block.samples.size) + (nowNs() - block.capturedNs) / 1e6
}

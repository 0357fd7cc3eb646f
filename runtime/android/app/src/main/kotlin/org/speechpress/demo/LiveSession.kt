package org.speechpress.demo

import android.content.Context
import java.io.Closeable
import java.util.concurrent.CountDownLatch
import org.speechpress.android.Microphone
import org.speechpress.android.StreamingFeatureExtractor
import org.speechpress.core.BlockQueue
import org.speechpress.core.Counts
import org.speechpress.core.FeaturePicture
import org.speechpress.core.GoldenResult
import org.speechpress.core.LatencyFigures
import org.speechpress.core.LiveStream
import org.speechpress.core.SpeechpressException

private const val BLOCK_MS = 20
private const val QUEUE_MS = 1000 // behind by more than this, blocks are dropped
private const val POLL_MS = 100L
private const val PICTURE_ROWS = 128

/**
 * From the bundle in the assets to live frames, in a thread of its own: load, check the golden clip, and listen as soon
 * as [allowMicrophone] was called.
 */
class LiveSession(private val context: Context, private val listener: Listener) : Closeable {
    /** Called in the session's thread, onError also in the microphone's; not after [close]. */
    interface Listener {
        fun onLoaded(extractor: StreamingFeatureExtractor, golden: GoldenResult)

        fun onFrames(columns: List<IntArray>, figures: LatencyFigures, counts: Counts)

        fun onError(error: SpeechpressException)
    }

    @Volatile
    private var running = true
    private val allowed = CountDownLatch(1)

    fun start() = Thread({ run() }, "features").start()

    fun allowMicrophone() = allowed.countDown()

    /** Ends after the step that is being computed; does not wait for it. */
    override fun close() {
        running = false
        allowed.countDown()
    }

    private fun run() = try {
        StreamingFeatureExtractor.fromAssets(context).use { extractor ->
            val golden = extractor.checkGolden()
            tell { onLoaded(extractor, golden) }
            allowed.await()
            if (running) listen(extractor)
        }
    } catch (error: SpeechpressException) {
        tell { onError(error) }
    }

    private fun listen(extractor: StreamingFeatureExtractor) {
        val queue = BlockQueue(QUEUE_MS / BLOCK_MS)
        val live = LiveStream(extractor.stream, queue)
        val picture = FeaturePicture(extractor.spec.width, PICTURE_ROWS)
        val blockSamples = extractor.spec.sampleRate * BLOCK_MS / 1000
        Microphone(extractor.spec.sampleRate, blockSamples, queue, { tell { onError(it) } }).use { microphone ->
            microphone.start()
            while (running) {
                val frames = live.next(POLL_MS) ?: continue
                val columns = List(frames.count) { picture.column(frames.values, it * frames.width) }
                if (frames.count > 0) tell { onFrames(columns, live.figures(), live.counts) }
            }
        }
    }

    private fun tell(what: Listener.() -> Unit) {
        if (running) listener.what()
    }
}

package org.speechpress.android

import android.content.Context
import java.io.Closeable
import java.io.File
import org.speechpress.core.Bundle
import org.speechpress.core.BundleInstaller
import org.speechpress.core.Counts
import org.speechpress.core.Frames
import org.speechpress.core.GoldenResult
import org.speechpress.core.StreamSpec
import org.speechpress.core.StreamingExtractor
import org.speechpress.core.checkGolden

/**
 * Live audio in pieces of any size -> frames with their times, by a bundle that `compress export` made.
 *
 *     val extractor = StreamingFeatureExtractor.fromAssets(context)
 *     val frames = extractor.push(samples)
 *
 * All that can go wrong with a bundle or its program is a [org.speechpress.core.SpeechpressException]. Loading and every
 * call take time: not for the main thread. One thread at a time.
 *
 * @param chunkMs one of the bundle's chunk sizes; the target's own when null.
 * @param threads that ExecuTorch computes with, in the whole process; 0 leaves the choice to it.
 */
class StreamingFeatureExtractor(val bundle: Bundle, chunkMs: Double? = null, threads: Int = 0) : Closeable {
    private val engine = ExecutorchEngine(bundle, chunkMs, threads)

    /** The stream itself, for [org.speechpress.core.LiveStream]. */
    val stream = StreamingExtractor(engine)

    val spec: StreamSpec get() = engine.spec

    val counts: Counts get() = stream.counts

    /** Hear one piece of PCM at the model's sample rate; the frames that are ready now, often none. */
    fun push(samples: ShortArray, count: Int = samples.size): Frames = stream.push(samples, count)

    /** The same for floats of full scale 1. */
    fun push(samples: FloatArray, count: Int = samples.size): Frames = stream.push(samples, count)

    /** End the stream: the frames that are left. */
    fun flush(): Frames = stream.flush()

    /** Forget everything that was heard; the next piece starts a new stream at time 0. */
    fun reset() = stream.reset()

    /** Run the bundle's own clip, in a stream apart from this one, and compare with the checkpoint's frames. */
    fun checkGolden(): GoldenResult = checkGolden(bundle, engine)

    override fun close() = engine.close()

    companion object {
        /** Install the bundle that lies in the app's assets under [path], and load it. */
        fun fromAssets(
            context: Context,
            path: String = "bundle",
            chunkMs: Double? = null,
            threads: Int = 0
        ): StreamingFeatureExtractor {
            val installer = BundleInstaller(File(context.filesDir, "bundles")) { name -> context.assets.open("$path/$name") }
            return StreamingFeatureExtractor(installer.install(), chunkMs, threads)
        }
    }
}

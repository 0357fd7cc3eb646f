package org.speechpress.demo

import android.Manifest
import android.app.Activity
import android.content.pm.PackageManager
import android.os.Bundle
import android.view.ViewGroup.LayoutParams.MATCH_PARENT
import android.view.ViewGroup.LayoutParams.WRAP_CONTENT
import android.view.WindowManager
import android.widget.LinearLayout
import android.widget.TextView
import java.util.Locale
import org.speechpress.android.StreamingFeatureExtractor
import org.speechpress.core.Counts
import org.speechpress.core.GoldenResult
import org.speechpress.core.LatencyFigures
import org.speechpress.core.SpeechpressException

private const val MICROPHONE_REQUEST = 1
private const val PICTURE_COLUMNS = 250 // five seconds of frames of 20 ms
private const val PADDING_PX = 24

/** Live features as a scrolling heat map, with what they cost. */
class MainActivity : Activity(), LiveSession.Listener {
    private lateinit var bundleText: TextView
    private lateinit var latencyText: TextView
    private lateinit var picture: HeatMapView
    private var session: LiveSession? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        bundleText = text("loading the bundle")
        latencyText = text("")
        picture = HeatMapView(this, PICTURE_COLUMNS)
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            fitsSystemWindows = true
            addView(bundleText, LinearLayout.LayoutParams(MATCH_PARENT, WRAP_CONTENT))
            addView(picture, LinearLayout.LayoutParams(MATCH_PARENT, 0, 1f))
            addView(latencyText, LinearLayout.LayoutParams(MATCH_PARENT, WRAP_CONTENT))
        })
        if (!mayListen()) requestPermissions(arrayOf(Manifest.permission.RECORD_AUDIO), MICROPHONE_REQUEST)
    }

    override fun onStart() {
        super.onStart()
        session = LiveSession(applicationContext, this).apply {
            if (mayListen()) allowMicrophone()
            start()
        }
    }

    override fun onStop() {
        session?.close()
        session = null
        super.onStop()
    }

    override fun onRequestPermissionsResult(requestCode: Int, permissions: Array<out String>, grantResults: IntArray) {
        super.onRequestPermissionsResult(requestCode, permissions, grantResults)
        if (requestCode == MICROPHONE_REQUEST && mayListen()) session?.allowMicrophone()
    }

    override fun onLoaded(extractor: StreamingFeatureExtractor, golden: GoldenResult) {
        val manifest = extractor.bundle.manifest
        val spec = extractor.spec
        val text = "${manifest.name}, ${manifest.quantize}, ${manifest.backend}\n" +
            "chunk ${ms(spec.chunkMs)}, look-ahead ${ms(spec.lookaheadMs)}, ${spec.width} dimensions\n${golden.message}"
        runOnUiThread {
            bundleText.text = text
            latencyText.text = if (mayListen()) "listening" else "waits for the permission to use the microphone"
        }
    }

    override fun onFrames(columns: List<IntArray>, figures: LatencyFigures, counts: Counts) {
        val text = "infer p50 ${ms(figures.inferP50Ms)}, p99 ${ms(figures.inferP99Ms)} of ${figures.chunks} chunks\n" +
            "worst-case age ${ms(figures.worstAgeMs)}\n" +
            "dropped blocks ${figures.droppedBlocks}, clipped samples ${counts.clipped}"
        runOnUiThread {
            columns.forEach(picture::add)
            latencyText.text = text
        }
    }

    override fun onError(error: SpeechpressException) = runOnUiThread { latencyText.text = error.message }

    private fun mayListen(): Boolean =
        checkSelfPermission(Manifest.permission.RECORD_AUDIO) == PackageManager.PERMISSION_GRANTED

    private fun text(first: String) = TextView(this).apply {
        text = first
        setPadding(PADDING_PX, PADDING_PX, PADDING_PX, PADDING_PX)
    }

    private fun ms(value: Double): String = String.format(Locale.ROOT, "%.1f ms", value)
}

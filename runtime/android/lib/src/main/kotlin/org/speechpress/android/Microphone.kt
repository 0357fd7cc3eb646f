package org.speechpress.android

import android.annotation.SuppressLint
import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder
import android.os.Process
import java.io.Closeable
import org.speechpress.core.AudioBlock
import org.speechpress.core.BlockQueue
import org.speechpress.core.SpeechpressException

private const val BUFFER_MS = 1000 // what the system keeps when this process is not scheduled
private const val BYTES_PER_SAMPLE = 2
private const val STOP_TIMEOUT_MS = 2000L

/**
 * Captures PCM in a thread of its own and puts blocks into [queue]; the queue counts the blocks that find no place.
 *
 * @param blockSamples of a block; at 16 kHz 320 are 20 ms, which is what a block adds to the age of a frame.
 * @param onError called once, in the capturing thread, when the microphone stops by itself.
 */
class Microphone(
    private val sampleRate: Int,
    private val blockSamples: Int,
    private val queue: BlockQueue,
    private val onError: (SpeechpressException) -> Unit
) : Closeable {
    @Volatile
    private var running = false
    private var record: AudioRecord? = null
    private var thread: Thread? = null

    /** Throws [SpeechpressException] when there is no microphone at this rate, or no permission to use it. */
    fun start() {
        check(thread == null) { "a microphone is started once" }
        val record = open()
        this.record = record
        record.startRecording()
        if (record.recordingState != AudioRecord.RECORDSTATE_RECORDING) {
            close()
            throw SpeechpressException("the microphone does not start; does another app use it?")
        }
        running = true
        thread = Thread({ capture(record) }, "microphone").apply { start() }
    }

    override fun close() {
        running = false
        record?.apply { if (state == AudioRecord.STATE_INITIALIZED) stop() } // ends a read that is waiting
        thread?.join(STOP_TIMEOUT_MS)
        record?.release()
        record = null
    }

    // Whoever starts it has asked for RECORD_AUDIO; without it the record comes out uninitialised or as an exception.
    @SuppressLint("MissingPermission")
    private fun open(): AudioRecord {
        val record = try {
            AudioRecord.Builder()
                .setAudioSource(MediaRecorder.AudioSource.VOICE_RECOGNITION) // no gain control and no noise suppression
                .setAudioFormat(format())
                .setBufferSizeInBytes(bufferBytes())
                .build()
        } catch (error: RuntimeException) {
            throw SpeechpressException("there is no microphone at $sampleRate Hz, or no permission (${error.message})", error)
        }
        if (record.state == AudioRecord.STATE_INITIALIZED && record.sampleRate == sampleRate) return record
        record.release()
        throw SpeechpressException("the microphone cannot be opened at $sampleRate Hz; is the permission given?")
    }

    private fun format(): AudioFormat = AudioFormat.Builder()
        .setEncoding(AudioFormat.ENCODING_PCM_16BIT)
        .setSampleRate(sampleRate)
        .setChannelMask(AudioFormat.CHANNEL_IN_MONO)
        .build()

    private fun bufferBytes(): Int = maxOf(
        AudioRecord.getMinBufferSize(sampleRate, AudioFormat.CHANNEL_IN_MONO, AudioFormat.ENCODING_PCM_16BIT),
        sampleRate * BYTES_PER_SAMPLE * BUFFER_MS / 1000
    )

    private fun capture(record: AudioRecord) {
        Process.setThreadPriority(Process.THREAD_PRIORITY_URGENT_AUDIO)
        while (running) {
            val block = ShortArray(blockSamples)
            val count = record.read(block, 0, block.size)
            if (count < 0 && running) return onError(SpeechpressException("the microphone stopped (error $count)"))
            if (count > 0) queue.offer(AudioBlock(block.copyOf(count), System.nanoTime()))
        }
    }
}

package org.speechpress.checks

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.nio.LongBuffer
import java.util.function.BiFunction
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import org.speechpress.android.StreamingFeatureExtractor
import org.speechpress.core.Bundle
import org.speechpress.core.BundleInstaller
import org.speechpress.core.FloatTensor
import org.speechpress.core.Frames
import org.speechpress.core.HeadSpec
import org.speechpress.core.HostTensor
import org.speechpress.core.Json
import org.speechpress.core.LongTensor
import org.speechpress.core.Manifest
import org.speechpress.core.SpeechpressException
import org.speechpress.core.State
import org.speechpress.core.StreamSpec
import org.speechpress.core.StreamingExtractor
import org.speechpress.core.ToyEngine
import org.speechpress.core.readSafetensors

/**
 * What tests/test_android.py compares with Python. In the folder that is given, it runs
 *
 *     streams/NAME   case.json and case.safetensors through a toy engine: frames.f32, end_s.f64, counts.txt
 *     bundles/NAME   opens a bundle of the toy engine and checks its golden clip through the lib module: report.txt
 *     answers/NAME   plays the vectors of a kind of head: NAME.txt has a line for each case, "ok" or what differs
 *     served/NAME    the same for a real one, whose program is run by the process at the other end of stdin and stdout
 */
fun main(args: Array<String>) {
    val folder = File(args[0])
    File(folder, "streams").listFiles()?.sorted()?.forEach(::runStream)
    File(folder, "bundles").listFiles()?.sorted()?.forEach { bundle ->
        val report = try {
            checkBundle(bundle) { ToyProgram(it) }
        } catch (error: SpeechpressException) {
            "error\n${error.message}"
        }
        File(bundle, "report.txt").writeText(report)
    }
    File(folder, "answers").listFiles()?.sorted()?.forEach { File("$it.txt").writeText(playVectors(it).joinToString("\n")) }
    val served = ServedProgram(System.`in`, System.out)
    File(folder, "served").listFiles()?.sorted()?.forEach { bundle ->
        File(bundle, "report.txt").writeText(checkBundle(bundle) { served })
    }
}

private fun runStream(folder: File) {
    val case = Json.parse(File(folder, "case.json").readText(), "case.json") as Json.Obj
    val tensors = readSafetensors(File(folder, "case.safetensors"))
    val extractor = StreamingExtractor(ToyEngine(specOf(case)))
    val parts = pieces(tensors).map(extractor::hear) + extractor.flush()
    write(File(folder, "frames.f32"), parts.map { it.values.size }.sum() * 4) { out ->
        parts.forEach { part -> part.values.forEach { out.putFloat(it) } }
    }
    write(File(folder, "end_s.f64"), parts.map { it.count }.sum() * 8) { out ->
        parts.forEach { part -> part.endS.forEach { out.putDouble(it) } }
    }
    val counts = extractor.counts
    File(folder, "counts.txt").writeText("${counts.samples} ${counts.replaced} ${counts.clipped}")
}

private fun specOf(case: Json.Obj): StreamSpec {
    fun int(name: String) = (case.members.getValue(name) as Json.Num).digits.toInt()
    return StreamSpec(
        int("chunk_frames"), int("width"), int("sample_rate"), int("hop_samples"), int("receptive_samples"),
        int("lookahead_frames")
    )
}

/** The audio in pieces: floats as they are, whole numbers as PCM of 16 bits. */
private fun pieces(tensors: Map<String, HostTensor>): List<HostTensor> {
    var at = 0
    return (tensors.getValue("pieces") as LongTensor).values.map { size ->
        val to = at + size.toInt()
        val piece: HostTensor = when (val audio = tensors.getValue("audio")) {
            is FloatTensor -> FloatTensor(longArrayOf(size), audio.values.copyOfRange(at, to))
            is LongTensor -> LongTensor(longArrayOf(size), audio.values.copyOfRange(at, to))
        }
        at = to
        piece
    }
}

private fun StreamingExtractor.hear(piece: HostTensor): Frames = when (piece) {
    is FloatTensor -> push(piece.values)
    is LongTensor -> push(ShortArray(piece.size) { piece.values[it].toShort() })
}

private fun write(file: File, sizeBytes: Int, fill: (ByteBuffer) -> Unit) {
    val buffer = ByteBuffer.allocate(sizeBytes).order(ByteOrder.LITTLE_ENDIAN)
    fill(buffer)
    file.writeBytes(buffer.array())
}

private typealias Program = BiFunction<String, Array<EValue>, Array<EValue>?>

private fun checkBundle(folder: File, programOf: (Manifest) -> Program): String {
    val installed = File(folder, "installed")
    val bundle = BundleInstaller(installed) { File(folder, it).inputStream() }.install()
    check(BundleInstaller(installed) { File(folder, it).inputStream() }.install().folder == bundle.folder)
    Module.program = programOf(bundle.manifest)
    val lines = bundle.manifest.streams.map { stream ->
        StreamingFeatureExtractor(bundle, stream.spec.chunkMs).use { extractor ->
            val golden = extractor.checkGolden()
            "${stream.method} ${golden.passed} ${golden.frames} ${golden.parity.maxAbs} ${extractor.spec.worstAgeMs}"
        }
    }
    val events = if (bundle.manifest.heads.isEmpty()) emptyList() else eventsOf(bundle)
    return (listOf("ok", bundle.manifest.name) + lines + events + sums(bundle.manifest.initialState()) + sums(bundle.golden)).joinToString("\n")
}

/** What the heads say of the golden clip, which comes in pieces. */
private fun eventsOf(bundle: Bundle): List<String> = StreamingFeatureExtractor(bundle).use { extractor ->
    val audio = (bundle.golden.getValue("audio") as FloatTensor).values
    val pieces = audio.indices.step(1000).map { extractor.push(audio.copyOfRange(it, minOf(it + 1000, audio.size))) }
    (pieces + extractor.flush()).flatMap { it.events }.map { it.toJson() }
}

private fun sums(tensors: Map<String, HostTensor>): List<String> =
    tensors.map { (name, tensor) -> "$name ${tensor.shape.toList()} ${sum(tensor)}" }

private fun sum(tensor: HostTensor): Double = when (tensor) {
    is FloatTensor -> tensor.values.map { it.toDouble() }.sum()
    is LongTensor -> tensor.values.map { it.toDouble() }.sum()
}

/** The toy engine as a program: its outputs lie in memory that the next call overwrites, as ExecuTorch's do. */
private class ToyProgram(private val manifest: Manifest) : Program {
    private val memory = HashMap<Pair<String, Int>, Any>()

    override fun apply(method: String, inputs: Array<EValue>): Array<EValue>? {
        val stream = manifest.streams.firstOrNull { it.method == method }
            ?: return constant(method)?.let { arrayOf(EValue.from(it)) }
        val state: State = manifest.state.mapIndexed { index, entry ->
            val tensor = inputs[index + 1].toTensor()
            entry.name to when (entry.dtype) {
                "int64" -> LongTensor(tensor.shape(), tensor.dataAsLongArray)
                else -> FloatTensor(tensor.shape(), tensor.dataAsFloatArray)
            }
        }.toMap()
        val step = ToyEngine(stream.spec).step(inputs[0].toTensor().dataAsFloatArray, state)
        val frames = FloatTensor(longArrayOf(1, stream.spec.chunkFrames.toLong(), manifest.width.toLong()), step.frames)
        // The toy's heads: an output is the first columns of its frames; whole numbers are all 0, a chunk has its last row.
        val answers = manifest.heads.flatMap { head ->
            head.widths.mapIndexed { output, width -> answer(head, output, width, step.frames) }
        }
        val outputs = listOf(frames) + answers + manifest.state.map { step.state.getValue(it.name) }
        return outputs.mapIndexed { index, tensor -> EValue.from(borrowed(method to index, tensor)) }.toTypedArray()
    }

    private fun answer(head: HeadSpec, output: Int, width: Int, frames: FloatArray): HostTensor {
        val count = frames.size / manifest.width
        val rows = if (head.byChunk) listOf(count - 1) else (0 until count).toList()
        val shape = longArrayOf(1, rows.size.toLong(), width.toLong())
        if (head.isWhole(output)) return LongTensor(shape, LongArray(rows.size * width))
        val values = FloatArray(rows.size * width) { frames[rows[it / width] * manifest.width + it % width] }
        // A frame that does not exist is NaN, which is dropped with its row; the row of a chunk stays.
        if (head.byChunk) for (index in values.indices) if (values[index].isNaN()) values[index] = 0f
        return FloatTensor(shape, values)
    }

    private fun constant(method: String): Long? = when (method) {
        "schema" -> manifest.schema.toLong()
        "head_outputs" -> manifest.heads.map { it.widths.size }.sum().toLong()
        "sample_rate" -> manifest.sampleRate.toLong()
        "hop_samples" -> manifest.hopSamples.toLong()
        "receptive_samples" -> manifest.receptiveSamples.toLong()
        "lookahead_frames" -> manifest.streams[0].spec.lookaheadFrames.toLong()
        "width" -> manifest.width.toLong()
        "end_index" -> manifest.state.indexOfFirst { it.name == "end" }.toLong()
        else -> null
    }

    private fun borrowed(place: Pair<String, Int>, tensor: HostTensor): Tensor = when (tensor) {
        is FloatTensor -> {
            val buffer = memory.getOrPut(place) { FloatBuffer.allocate(tensor.size) } as FloatBuffer
            buffer.rewind()
            buffer.put(tensor.values)
            Tensor.fromBlob(buffer, tensor.shape)
        }
        is LongTensor -> {
            val buffer = memory.getOrPut(place) { LongBuffer.allocate(tensor.size) } as LongBuffer
            buffer.rewind()
            buffer.put(tensor.values)
            Tensor.fromBlob(buffer, tensor.shape)
        }
    }
}

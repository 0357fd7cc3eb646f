package org.speechpress.android

import java.io.Closeable
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor
import org.speechpress.core.Bundle
import org.speechpress.core.Engine
import org.speechpress.core.FloatTensor
import org.speechpress.core.HeadSpec
import org.speechpress.core.HostTensor
import org.speechpress.core.LongTensor
import org.speechpress.core.Rows
import org.speechpress.core.SpeechpressException
import org.speechpress.core.State
import org.speechpress.core.Step
import org.speechpress.core.StreamSpec

/**
 * A bundle's program, run by ExecuTorch.
 *
 * @param chunkMs one of the bundle's chunk sizes; the target's own when null.
 * @param threads that ExecuTorch computes with, in the whole process; 0 leaves the choice to it.
 */
class ExecutorchEngine(private val bundle: Bundle, chunkMs: Double? = null, threads: Int = 0) : Engine, Closeable {
    private val stream = bundle.manifest.stream(chunkMs)
    private val module = load(threads)

    override val spec: StreamSpec get() = stream.spec

    override val heads: List<HeadSpec> get() = bundle.manifest.heads

    override fun initialState(): State = bundle.manifest.initialState()

    override fun step(chunk: FloatArray, state: State): Step {
        val shape = longArrayOf(1, chunk.size.toLong())
        val inputs = listOf(EValue.from(Tensor.fromBlob(chunk, shape))) + state.values.map { EValue.from(tensorOf(it)) }
        val outputs = run(stream.method, *inputs.toTypedArray())
        val answers = heads.map { it.widths.size }.sum()
        if (outputs.size != inputs.size + answers) {
            fail("${stream.method} gave ${outputs.size} tensors instead of ${inputs.size + answers}", null)
        }
        // Copies: what a program returns lies in its own memory, which the next call overwrites.
        val frames = outputs[0].toTensor().dataAsFloatArray
        val next = state.keys.zip(outputs.drop(1 + answers)) { name, output -> name to copyOf(output.toTensor(), state.getValue(name)) }
        return Step(frames, next.toMap(), answersOf(outputs.drop(1).iterator()))
    }

    private fun answersOf(outputs: Iterator<EValue>): Map<String, List<Rows>> = heads.associate { head ->
        head.name to head.widths.mapIndexed { output, width -> rowsOf(head, output, width, outputs.next().toTensor()) }
    }

    private fun rowsOf(head: HeadSpec, output: Int, width: Int, tensor: Tensor): Rows {
        val shape = longArrayOf(1, if (head.byChunk) 1 else spec.chunkFrames.toLong(), width.toLong())
        if (!tensor.shape().contentEquals(shape)) {
            fail("an output of head ${head.name} has the shape ${tensor.shape().toList()} instead of ${shape.toList()}", null)
        }
        val values = if (head.isWhole(output)) {
            tensor.dataAsLongArray.map { it.toDouble() }
        } else {
            tensor.dataAsFloatArray.map { it.toDouble() }
        }
        return Rows(shape[1].toInt(), width, values.toDoubleArray())
    }

    override fun close() = module.destroy()

    private fun load(threads: Int): Module {
        val module = try {
            Module.load(bundle.program.path, Module.LOAD_MODE_MMAP, threads)
        } catch (error: RuntimeException) {
            fail("ExecuTorch cannot read it (${error.message})", error)
        }
        try {
            bundle.manifest.checkProgram { constant -> run(module, constant)[0].toInt() }
        } catch (error: SpeechpressException) {
            module.destroy()
            throw error
        }
        return module
    }

    private fun run(method: String, vararg inputs: EValue): Array<EValue> = run(module, method, *inputs)

    private fun run(module: Module, method: String, vararg inputs: EValue): Array<EValue> = try {
        module.execute(method, *inputs)
    } catch (error: RuntimeException) {
        fail("its method $method cannot be run (${error.message})", error)
    }

    private fun fail(what: String, cause: Throwable?): Nothing = throw SpeechpressException(
        "${bundle.program}: $what; was it exported for ExecuTorch 1.5 and the backend ${bundle.manifest.backend}?", cause
    )

    private fun tensorOf(tensor: HostTensor): Tensor = when (tensor) {
        is FloatTensor -> Tensor.fromBlob(tensor.values, tensor.shape)
        is LongTensor -> Tensor.fromBlob(tensor.values, tensor.shape)
    }

    private fun copyOf(tensor: Tensor, like: HostTensor): HostTensor {
        val shape = tensor.shape()
        if (!shape.contentEquals(like.shape)) {
            fail("a state tensor has the shape ${shape.toList()} instead of ${like.shape.toList()}", null)
        }
        return when (like) {
            is FloatTensor -> FloatTensor(shape, tensor.dataAsFloatArray)
            is LongTensor -> LongTensor(shape, tensor.dataAsLongArray)
        }
    }
}

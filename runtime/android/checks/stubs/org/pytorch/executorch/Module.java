package org.pytorch.executorch;

import java.io.File;
import java.util.function.BiFunction;

/** Stands in for ExecuTorch's class of this name: what it runs is set by the check. */
public final class Module {
    public static final int LOAD_MODE_MMAP = 1;

    /** (name of the method, inputs) -> outputs; null for a method that does not exist. */
    public static BiFunction<String, EValue[], EValue[]> program;

    private boolean destroyed;

    private Module() {}

    public static Module load(String modelPath, int loadMode, int numThreads) {
        if (!new File(modelPath).canRead()) throw new RuntimeException("Cannot load model path!! " + modelPath);
        return new Module();
    }

    public EValue[] execute(String methodName, EValue... inputs) {
        if (destroyed) throw new IllegalStateException("Module has been destroyed");
        EValue[] outputs = program.apply(methodName, inputs);
        if (outputs == null) throw new RuntimeException("Execution failed for method: " + methodName);
        return outputs;
    }

    public void destroy() {
        destroyed = true;
    }
}

package android.media;

public class AudioRecord {
    public static final int RECORDSTATE_RECORDING = 3;
    public static final int STATE_INITIALIZED = 1;

    public static int getMinBufferSize(int sampleRateInHz, int channelConfig, int audioFormat) {
        return 0;
    }

    public int getState() {
        return 0;
    }

    public int getRecordingState() {
        return 0;
    }

    public int getSampleRate() {
        return 0;
    }

    public int read(short[] audioData, int offsetInShorts, int sizeInShorts) {
        return 0;
    }

    public void startRecording() {}

    public void stop() {}

    public void release() {}

    public static class Builder {
        public Builder setAudioSource(int source) {
            return this;
        }

        public Builder setAudioFormat(AudioFormat format) {
            return this;
        }

        public Builder setBufferSizeInBytes(int bufferSizeInBytes) {
            return this;
        }

        public AudioRecord build() {
            return null;
        }
    }
}

package android.graphics;

public final class Bitmap {
    public enum Config {
        ARGB_8888
    }

    public static Bitmap createBitmap(int width, int height, Config config) {
        return null;
    }

    public int getHeight() {
        return 0;
    }

    public void setPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) {}
}
